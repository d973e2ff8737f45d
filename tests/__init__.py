"""Tests of MailX: a package for each of ``mailx``, ``dialogs`` (protocol scripts as text), ``system`` (real processes).

``MAILX_HYPOTHESIS=fuzz`` runs the property tests with many more examples.
"""

import os

from hypothesis import HealthCheck, settings

# A loaded machine is slow now and then: time is no property of the code under test.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fuzz", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=20000)
settings.load_profile(os.environ.get("MAILX_HYPOTHESIS", "default"))
