"""Reading the configuration: what is taken, what is refused, and how that is said."""

import os
import shutil
import tempfile
import tomllib
from pathlib import Path

from attrs import fields
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.config import Config, sections, variable
from mailx.config_file import ConfigError, Fixed, Sources, find, load
from mailx.config_reference import literal, page, toml
from mailx.core.routes import relays

JUNK = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text() | st.integers(), max_size=3)
ROOT = Path(__file__).parent.parent


def without_file(**environ: str) -> Config:
    """The defaults with overrides; the socket's path does not depend on how deep the working directory lies."""
    return load(None, {"MAILX_ADMIN__SOCKET": "/run/mailx.sock", **environ})


class Reading(SynchronousTestCase):
    """``load`` over real files."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="mailx-"))  # not mktemp: the path of a socket must be short
        self.addCleanup(shutil.rmtree, self.directory)
        self.path = self.directory / "mailx.toml"

    def write(self, text: str) -> Path:
        self.path.write_text(text, encoding="utf-8")
        return self.path

    def problems(self, text: str, **environ: str) -> list[str]:
        error = self.assertRaises(ConfigError, load, self.write(text), environ)
        return [str(problem) for problem in error.problems]

    def test_no_file_gives_the_defaults(self) -> None:
        config = without_file()
        self.assertEqual(config.smtp, Config().smtp)
        self.assertEqual(config.server.data, str(Path.cwd() / "var"))

    def test_values_are_taken(self) -> None:
        config = load(self.write('[smtp]\nport = 25\nproxy_from = ["10.0.0.0/8"]\ncram_md5 = true\n[log]\nlevel = "debug"\n'), {})
        self.assertEqual((config.smtp.port, config.smtp.proxy_from, config.smtp.cram_md5), (25, ("10.0.0.0/8",), True))
        self.assertEqual(config.log.level, "debug")

    def test_the_environment_overrides_the_file(self) -> None:
        environ = {"MAILX_SMTP__PORT": "25", "MAILX_SMTP__PROXY_FROM": "10.0.0.0/8, ::1", "MAILX_IMAP__PLAINTEXT_LOGIN": "yes", "HOME": "/"}
        config = load(self.write("[smtp]\nport = 2000\n"), environ)
        self.assertEqual((config.smtp.port, config.smtp.proxy_from, config.imap.plaintext_login), (25, ("10.0.0.0/8", "::1"), True))

    def test_every_key_has_a_variable(self) -> None:
        samples = {int: "4711", bool: "true", str: "x", tuple[str, ...]: "[]"}
        for section, kind in sections().items():
            for attribute in fields(kind):
                if attribute.type in (int, bool):
                    value = (
                        samples[attribute.type] if attribute.type is bool else str(max(attribute.default, attribute.metadata["least"] or 0))
                    )
                    config = without_file(**{variable(section, attribute.name): value})
                    self.assertEqual(str(getattr(getattr(config, section), attribute.name)).lower(), value)

    def test_relative_paths_start_at_the_file(self) -> None:
        config = load(self.write('[server]\ndata = "d"\n[log]\nfile = "m.log"\n[store]\nurl = "sqlite:x.db"\n'), {})
        data = self.directory / "d"
        self.assertEqual(config.server.secret_file, str(self.directory / "mailx.secret"))
        self.assertEqual(
            (config.log.file, config.store.url, config.admin.socket), (f"{data}/m.log", f"sqlite:{data}/x.db", f"{data}/admin.sock")
        )

    def test_a_secret_comes_from_its_file(self) -> None:
        (self.directory / "password").write_text("hunter2\n")
        config = load(self.write('[store]\npassword_file = "password"\n'), {})
        self.assertEqual(config.store.password, "hunter2")
        self.assertNotIn("hunter2", repr(config))

    def test_a_quoted_number_is_an_error(self) -> None:
        (problem,) = self.problems('[smtp]\nport = "25"\n')
        self.assertEqual(problem, f'{self.path}: smtp.port = "25": must be a whole number from 0 to 65535; write port = 25, without quotes')

    def test_a_text_is_no_list(self) -> None:
        (problem,) = self.problems('[smtp]\nproxy_from = "oops"\n')
        self.assertIn('smtp.proxy_from = "oops": must be a list', problem)

    def test_a_truth_is_no_number(self) -> None:
        (problem,) = self.problems("[smtp]\nport = true\n")
        self.assertIn("smtp.port = true: must be a whole number", problem)

    def test_an_unknown_key_suggests_the_nearest(self) -> None:
        self.assertIn("smtp.submision_port: unknown key; did you mean submission_port?", self.problems("[smtp]\nsubmision_port = 1\n")[0])

    def test_a_key_in_the_wrong_section_is_sent_home(self) -> None:
        self.assertIn("smtp.max_per_account: unknown key; it belongs to [imap]", self.problems("[smtp]\nmax_per_account = 1\n")[0])

    def test_an_unknown_section_suggests_the_nearest(self) -> None:
        self.assertIn("imaps: unknown section; did you mean imap?", self.problems("[imaps]\nport = 1\n")[0])

    def test_a_section_must_be_a_table(self) -> None:
        self.assertIn("smtp = 25: must be a table", self.problems("smtp = 25\n")[0])

    def test_a_wrong_variable_is_named(self) -> None:
        (problem,) = self.problems("", MAILX_IMAP__PORT="many")
        self.assertTrue(problem.startswith('MAILX_IMAP__PORT: imap.port = "many": must be a whole number'), problem)

    def test_an_unknown_variable_is_named(self) -> None:
        self.assertEqual(self.problems("", MAILX_IMPA__PORT="1"), ["MAILX_IMPA__PORT: names no setting; did you mean MAILX_IMAP__PORT?"])

    def test_other_variables_are_left_alone(self) -> None:
        without_file(MAILX_REQUIRE_SYSTEM="1")

    def test_all_errors_come_at_once(self) -> None:
        text = '[smtp]\nport = -1\nprot = 2\nmessage_size = "big"\n[server]\ninterface = "localhost"\n[log]\nlevel = "loud"\n[x]\n'
        problems = self.problems(text, MAILX_HEALTH__PORT="x")
        for key in ("smtp.port", "smtp.prot", "smtp.message_size", "server.interface", "log.level", "x:", "health.port"):
            self.assertEqual(sum(key in problem for problem in problems), 1, key)
        self.assertEqual(len(problems), 7)

    def test_name_servers_are_addresses(self) -> None:
        for setting, remedy in (
            ('servers = ["ns.example.org:53"]', "mend or remove 'ns.example.org:53'"),
            ('servers = [""]', "mend or remove ''"),
            ('validating = "ns.example.org"', "mend or remove it"),
            ('validating = "192.0.2.53"', "mend or remove it"),
            ('validating = "127.0.0.1:99999"', "mend or remove it"),
        ):
            (problem,) = self.problems(f"[dns]\n{setting}\n")
            self.assertIn("dns." + setting.split()[0], problem)
            self.assertIn("address with or without a port", problem)
            self.assertIn(remedy, problem)
        for setting in ('servers = ["192.0.2.53", "[2001:db8::1]:5353", "::1"]', 'validating = "[::1]:53"', 'validating = ""'):
            load(self.write(f"[dns]\n{setting}\n"), {})

    def test_where_connections_come_from(self) -> None:
        (problem,) = self.problems('[outbound]\ninterface = "eth0"\n')
        self.assertIn('outbound.interface = "eth0": must be an IP address, or empty', problem)

    def test_static_peers_are_whole(self) -> None:
        key = "ed25519:" + "A" * 43
        good = f'domain = "there.example"\nhosts = ["192.0.2.1"]\nkey = "{key}"\n'
        load(self.write(f"[[federation.peers]]\n{good}"), {})
        for lines, told in (
            (good.replace("there.example", ""), "domain: is missing"),
            (f"{good}[[federation.peers]]\n{good}", 'domain = "there.example": is the domain of another peer'),
            (good.replace('"192.0.2.1"', ""), "hosts: is missing"),
            (good.replace(key, "ed25519:short"), 'key = "ed25519:short": is no public key'),
            (good.replace(f'key = "{key}"', ""), "key: is no public key"),
        ):
            (problem,) = self.problems(f"[[federation.peers]]\n{lines}")
            self.assertIn(told, problem)

    def test_relays_are_whole(self) -> None:
        head = "[[outbound.relays]]\n"
        for text, said in (
            ('name = "a"\nhosts = []', "hosts: is missing; name at least one"),
            ('hosts = ["h.example"]', "name: is missing; give each relay a name of its own"),
            ('name = "a"\nhosts = ["h.example"]\nusername = "u"', "password: is missing; set username and password, or neither"),
            ('name = "a"\nhosts = ["h.example"]\npassword = "p"', "username: is missing; set username and password, or neither"),
            ('name = "a"\nhosts = ["h.example"]\nusername = "u"\npassword_file = "none"', "cannot be read (No such file or directory)"),
        ):
            (problem,) = self.problems(f"{head}{text}\n")
            self.assertIn("mailx.toml: outbound.relays[0].", problem)
            self.assertIn(said, problem)

    def test_a_port_may_be_claimed_once(self) -> None:
        self.assertIn("imap.port = 2587: is also the port of smtp.submission_port", self.problems("[imap]\nport = 2587\n")[0])

    def test_the_secret_may_not_lie_in_the_data(self) -> None:
        self.assertIn("lies in the data directory", self.problems('[server]\nsecret_file = "var/secret"\n')[0])

    def test_the_path_of_a_socket_is_short(self) -> None:
        (problem,) = self.problems(f'[admin]\nsocket = "/tmp/{"x" * 110}"\n')
        self.assertIn("is longer than the 107 octets of a socket's path; set it to a short absolute path", problem)

    def test_certificate_files_must_exist(self) -> None:
        problems = self.problems('[[tls.certificates]]\ncertificate_file = "none.pem"\n')
        self.assertIn("tls.certificates[0].certificate_file", problems[0])
        self.assertIn("tls.certificates[0].key_file", problems[1])

    def test_a_key_of_a_table_is_placed(self) -> None:
        problems = self.problems('[[tls.certificates]]\nkeyfile = "x"\nnames = "a"\n')
        self.assertIn("tls.certificates[0].keyfile: unknown key; did you mean key_file?", problems[0])
        self.assertIn('tls.certificates[0].names = "a": must be a list', problems[1])

    def test_two_sources_of_a_secret_are_one_too_many(self) -> None:
        problem = self.problems('[store]\npassword = "hunter2"\npassword_file = "p"\n')[0]
        self.assertIn("keep one of the two", problem)
        self.assertNotIn("hunter2", problem)

    def test_a_wrong_secret_is_not_shown(self) -> None:
        self.assertIn("(hidden)", self.problems("[store]\npassword = 4711\n")[0])
        for url in ("postgresql://me:hunter2@db.example.org/mail", "postgresql://me@db.example.org:5432/mail?sslpassword=hunter2"):
            (problem,) = self.problems(f'[store]\nurl = "{url}"\n')
            self.assertIn("store.password_file", problem)
            self.assertNotIn("hunter2", problem)
        fine = load(self.write('[store]\nurl = "postgresql://me@db.example.org:5432/mail"\n'), {})
        self.assertEqual(fine.store.url, "postgresql://me@db.example.org:5432/mail")

    def test_no_toml(self) -> None:
        self.assertIn("is not TOML: ", self.problems("[smtp\n")[0])

    def test_a_missing_file(self) -> None:
        error = self.assertRaises(ConfigError, load, self.directory / "none.toml", {})
        self.assertIn("none.toml: cannot be read (No such file or directory)", str(error))

    def test_find_prefers_the_option(self) -> None:
        self.assertEqual(find(str(self.path)), self.path)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
        )
    )
    def test_garbage_is_refused_not_raised(self, value: object) -> None:
        """Whatever TOML may carry in place of a section or a value, the answer is a Config or a ConfigError."""
        for text in (f"smtp = {_toml(value)}\n", f"[smtp]\nport = {_toml(value)}\nproxy_from = {_toml(value)}\n"):
            try:
                load(self.write(text), {})
            except ConfigError:
                continue


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(key)} = {_toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    return literal("" if value is None else value)


class Whole(SynchronousTestCase):
    """What only settings together can tell, whoever sets them."""

    def wrong(self, **environ: str) -> list[str]:
        try:
            without_file(**{f"MAILX_{name}": value for name, value in environ.items()})
        except ConfigError as error:
            return [problem.key for problem in error.problems]
        return []

    def test_a_panel_that_others_reach_is_meant_so_and_encrypted(self) -> None:
        for address in ("0.0.0.0", "192.0.2.1", "::", "::ffff:192.0.2.1"):
            out = {"PANEL__INTERFACE": address}
            self.assertEqual(self.wrong(**out), ["panel.interface"])
            self.assertEqual(self.wrong(**out, PANEL__TLS="true"), ["panel.interface"])
            self.assertEqual(self.wrong(**out, PANEL__EXPOSE="true"), ["panel.expose"])
            self.assertEqual(self.wrong(**out, PANEL__EXPOSE="true", PANEL__TLS="true"), [])
            self.assertEqual(self.wrong(**out, PANEL__EXPOSE="true", PANEL__PROXIES="192.0.2.9/32"), [])
            self.assertEqual(self.wrong(**out, PANEL__PORT="0"), [])
        for address in ("127.0.0.1", "127.9.9.9", "::1"):
            self.assertEqual(self.wrong(PANEL__INTERFACE=address), [])
        self.assertEqual(self.wrong(PANEL__INTERFACE="everywhere"), ["panel.interface"])

    def test_the_smart_host(self) -> None:
        self.assertEqual(self.wrong(SMARTHOST__HOST="smtp.example.org", SMARTHOST__USERNAME="me"), ["smarthost.password"])
        self.assertEqual(self.wrong(SMARTHOST__HOST="smtp.example.org", SMARTHOST__PASSWORD="x"), ["smarthost.username"])
        self.assertEqual(self.wrong(SMARTHOST__HOST="smtp example"), ["smarthost.host"])
        self.assertEqual(self.wrong(OUTBOUND__ROUTES='[{relay = "smarthost"}]'), ["outbound.routes[0].relay"])
        self.assertEqual(self.wrong(SMARTHOST__HOST="::1", OUTBOUND__ROUTES='[{relay = "smarthost"}]'), [])
        named = {"OUTBOUND__RELAYS": '[{name = "smarthost", hosts = ["a.example"]}]'}
        self.assertEqual(self.wrong(**named), [])
        self.assertEqual(self.wrong(**named, SMARTHOST__HOST="b.example"), ["outbound.relays[0].name"])

    def test_it_is_a_relay(self) -> None:
        for host, endpoint in (("::1", "[::1]:465"), ("192.0.2.1", "192.0.2.1:465"), ("a.example", "a.example:465")):
            config = without_file(MAILX_SMARTHOST__HOST=host, MAILX_SMARTHOST__PORT="465", MAILX_SMARTHOST__SECURITY="tls")
            (relay,) = relays(config)
            self.assertEqual((relay.name, relay.hosts, relay.security), ("smarthost", (endpoint,), "tls"))

    def test_the_webhook(self) -> None:
        self.assertEqual(self.wrong(WEBHOOK__HEADER_PREFIX="X-A: b"), ["webhook.header_prefix"])
        self.assertEqual(self.wrong(WEBHOOK__HEADER_PREFIX=""), ["webhook.header_prefix"])
        self.assertEqual(self.wrong(WEBHOOK__SENDER_LOCAL="a@b"), ["webhook.sender_local"])
        self.assertEqual(self.wrong(WEBHOOK__SENDER_NAME="a\nb"), ["webhook.sender_name"])
        self.assertEqual(self.wrong(WEBHOOK__SENDER_NAME="x" * 256), ["webhook.sender_name"])
        for end in ("?a=b", "#x", '/"><b>'):
            self.assertEqual(self.wrong(WEBHOOK__PUBLIC_WEB_URL="https://example.org" + end), ["webhook.public_web_url"])
        self.assertEqual(self.wrong(WEBHOOK__PUBLIC_WEB_URL="https://example.org:8443/shop/"), [])
        self.assertEqual(self.wrong(WEBHOOK__ALLOWED_LOCAL_PARTS="sales, no reply"), ["webhook.allowed_local_parts"])
        self.assertEqual(self.wrong(WEBHOOK__ALLOWED_LOCAL_PARTS="sales, no.reply+x"), [])

    def test_texts_have_bounds_and_no_control_characters(self) -> None:
        for value in ("a\r\nb", "a\x00b", "a\x7fb", "a\u2028b", "x" * 5000):
            self.assertEqual(self.wrong(WEBHOOK__SENDER_NAME=value), ["webhook.sender_name"], repr(value)[:20])
        self.assertEqual(self.wrong(LIMITS__ACCOUNT_DAY=str(10**17)), ["limits.account_day"])
        self.assertEqual(self.wrong(WEBHOOK__SENDER_NAME="Grüße, \U0001f4e8"), [])


class Layers(SynchronousTestCase):
    """Values from elsewhere, below file and environment."""

    def test_what_is_fixed_and_by_what(self) -> None:
        path = Path(self.mktemp())
        path.write_text("[webhook]\nskew = 7\nport = 1\n")
        sources = Sources(path.absolute(), {"MAILX_WEBHOOK__SKEW": "8", "MAILX_ADMIN__SOCKET": "/run/m.sock"})
        self.assertEqual(set(sources.fixed), {"webhook.skew", "webhook.port", "admin.socket"})
        self.assertEqual(sources.fixed["webhook.skew"], Fixed("environment", "MAILX_WEBHOOK__SKEW"))
        self.assertEqual(sources.fixed["webhook.port"], Fixed("file", str(path.absolute())))
        config = sources.over({"webhook.skew": 9, "webhook.per_minute": 9})
        self.assertEqual((config.webhook.skew, config.webhook.per_minute), (8, 9))
        self.assertEqual(sources.config.webhook.per_minute, 600, "left as it was")
        self.assertEqual(sources.over({}), sources.config)

    def test_a_configuration_alone_fixes_nothing(self) -> None:
        config = without_file(MAILX_OUTBOUND__RELAYS='[{name = "a", hosts = ["a.example"], password = "x", username = "y"}]')
        sources = Sources.of(config)
        self.assertEqual((sources.fixed, sources.over({})), ({}, config))
        self.assertEqual(sources.over({"webhook.allowed": ["::1/128"]}).webhook.allowed, ("::1/128",))
        self.assertIs(sources.again(), sources)

    def test_a_file_that_was_made_since_is_found(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(directory)
        sources = Sources(None, {"MAILX_ADMIN__SOCKET": "/run/m.sock"})
        self.assertIsNone(sources.again().path)
        Path("mailx.toml").write_text("[webhook]\nskew = 120\n", encoding="ascii")
        again = sources.again()
        self.assertEqual((again.config.webhook.skew, again.fixed["webhook.skew"].origin), (120, "file"))

    @given(st.dictionaries(st.text(max_size=20) | st.sampled_from(["webhook.skew", "smarthost.host", "webhook", "webhook.x.y"]), JUNK))
    def test_junk_is_refused_not_raised(self, values: dict[str, object]) -> None:
        try:
            Sources.of(Config()).over(values)
        except ConfigError:
            return

    def test_read_again_from_elsewhere(self) -> None:
        """A server may leave the directory that it was started in (twistd --rundir)."""
        sources = Sources(None, {})
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(tempfile.gettempdir())
        self.assertEqual(sources.again().config, sources.config)


class Generated(SynchronousTestCase):
    """The example file and the reference page are what the declarations say."""

    def test_the_example_file_is_current(self) -> None:
        self.assertEqual((ROOT / "etc" / "mailx.toml").read_text(encoding="utf-8"), toml(), "run python -m mailx.config_reference")

    def test_the_reference_page_is_current(self) -> None:
        self.assertEqual((ROOT / "docs" / "configuration.rst").read_text(encoding="utf-8"), page(), "run python -m mailx.config_reference")

    def test_the_example_uncommented_is_the_defaults(self) -> None:
        lines = [
            line[1:] if line.startswith("#") and not line.startswith("# ") and not line.startswith("#   ") else line
            for line in toml().splitlines()
        ]
        raw = tomllib.loads("\n".join(lines))
        self.assertEqual(raw["smtp"]["port"], 2525)
        self.assertEqual(set(raw), set(sections()))
        for section, kind in sections().items():
            self.assertEqual(set(raw[section]), {attribute.name for attribute in fields(kind)})

    def test_a_written_configuration_reads_back(self) -> None:
        config = without_file(MAILX_SMTP__PROXY_FROM="10.0.0.0/8", MAILX_LOG__LEVEL="warn")
        path = Path(self.mktemp())
        path.write_text(toml(config), encoding="utf-8")
        self.assertEqual(load(path.absolute(), {}), config)

    @given(st.text(st.characters(exclude_categories=("Cs",))))
    def test_texts_survive_toml(self, text: str) -> None:
        self.assertEqual(tomllib.loads(f"x = {literal(text)}")["x"], text)
