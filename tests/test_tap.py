"""The composition root as ``twistd`` calls it; what it composes runs in tests.system."""

import os

from twisted.application.service import Application, IService, IServiceMaker
from twisted.logger import ILogObserver
from twisted.plugin import getPlugins
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from mailx import tap
from mailx.ops.logs import Observer


class Making(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(os, "environ", {"MAILX_ADMIN__SOCKET": "/run/mailx.sock"})

    def options(self, *arguments: str) -> tap.Options:
        options = tap.Options()
        options.parseOptions(arguments)
        return options

    def test_twistd_finds_it(self) -> None:
        (maker,) = [maker for maker in getPlugins(IServiceMaker) if maker.tapname == "mailx"]
        self.assertEqual(maker.module, "mailx.tap")
        self.assertIs(maker.options, tap.Options)

    def test_it_runs_without_a_file(self) -> None:
        self.assertTrue(IService.providedBy(tap.makeService(self.options())))

    def test_nothing_is_touched_before_the_start(self) -> None:
        tap.makeService(self.options()).setServiceParent(Application("mailx"))
        self.assertFalse(os.path.exists("var"))
        self.assertFalse(os.path.exists("mailx.secret"))

    def test_the_application_logs_as_configured(self) -> None:
        application = Application("mailx")
        tap.makeService(self.options()).setServiceParent(application)
        self.assertIsInstance(application.getComponent(ILogObserver), Observer)

    def test_a_wrong_configuration_ends_the_process(self) -> None:
        os.environ["MAILX_SMTP__PORT"] = "many"
        error = self.assertRaises(SystemExit, tap.makeService, self.options())
        self.assertIn("MAILX_SMTP__PORT: smtp.port", str(error.code))

    def test_a_file_that_is_not_there_ends_the_process(self) -> None:
        error = self.assertRaises(SystemExit, tap.makeService, self.options("--config", "none.toml"))
        self.assertIn("none.toml: cannot be read", str(error.code))

    def test_other_options_are_refused(self) -> None:
        self.assertRaises(usage.UsageError, self.options, "--nonsense")
