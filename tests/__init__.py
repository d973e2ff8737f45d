"""Tests of MailX: a package for each of ``mailx``, ``dialogs`` (protocol scripts as text), ``system`` (real processes).

``MAILX_HYPOTHESIS=fuzz`` runs the property tests with many more examples.
"""

import os

from hypothesis import HealthCheck, settings

# A loaded machine is slow now and then: time is no property of the code under test. The same examples in every run: whether a change
# is good must not be drawn by lot; ``make fuzz`` draws others each time.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.register_profile("fuzz", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=20000)
settings.load_profile(os.environ.get("MAILX_HYPOTHESIS", "default"))
