"""Mail templates: their language, what is kept, and what a damaged one does."""

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.config import Webhook
from mailx.core import template_language
from mailx.core.settings import Settings
from mailx.core.template_defaults import DEFAULTS
from mailx.core.template_language import VARIABLES, Compiled, Problems, Rendered, Template
from mailx.core.templates import Templates, values
from mailx.store import templates as store_templates
from tests.scenery import world

EMPTY = dict.fromkeys(VARIABLES, "")


def rendered(text: str = "x", subject: str = "s", html: str = "", **given: str) -> Rendered:
    return Compiled(Template(subject, text, html)).render({**EMPTY, **given})


class Language(SynchronousTestCase):
    """What templates may say."""

    def problem(self, text: str) -> str:
        error = self.assertRaises(Problems, rendered, text)
        assert isinstance(error, Problems)
        return error.problems["text"]

    def test_values_filters_and_conditions(self) -> None:
        self.assertEqual(rendered("{{ to }} {{ token|urlencode }}", to="a@b", token="a&b").text, "a@b a%26b")
        text = "{% if link %}{{ link }}{% elif token == '1' %}one{% else %}{{ 'no' ~ 'ne' }}{% endif %}"
        self.assertEqual([rendered(text, **given).text for given in ({"link": "x"}, {"token": "1"}, {})], ["x", "one", "none"])

    def test_html_is_escaped_and_text_is_not(self) -> None:
        made = rendered("{{ to }}", html='<a href="{{ link }}">{{ to }}</a>', to="<b>", link='"><script>')
        self.assertEqual((made.text, made.html), ("<b>", '<a href="&#34;&gt;&lt;script&gt;">&lt;b&gt;</a>'))

    def test_the_subject_is_one_line(self) -> None:
        self.assertEqual(rendered(subject=" {{ to }}\n {{ token }}\t!", to="a\r\nb", token="c").subject, "a b c !")

    def test_what_is_no_part_of_it(self) -> None:
        for text in (
            "{% for x in to %}{% endfor %}",
            "{% set to = 'x' %}",
            "{% macro a() %}{% endmacro %}",
            "{% include 'x' %}",
            "{% import 'x' as y %}",
            "{% extends 'x' %}",
            "{% filter upper %}{% endfilter %}",
            "{% call to() %}{% endcall %}",
            "{% autoescape false %}{% endautoescape %}",
            "{{ to.__class__ }}",
            "{{ to['x'] }}",
            "{{ to() }}",
            "{{ 'a' * 1000 }}",
            "{{ 9 ** 9 }}",
            "{{ 'a%s' % to }}",
            "{{ [to] }}",
            "{{ {'a': to} }}",
            "{{ range(9) }}",
            "{{ self }}",
            "{{ to|safe }}",
            "{{ to|replace('a', 'b') }}",
            "{{ to|center(1000000000) }}",
            "{{ to|format }}",
            "{{ to is divisibleby 3 }}",
            "{{ to",
            "{% if to %}",
            "{{ '" + "(" * 10,
            "{{ " + "(" * 5000 + "to" + ")" * 5000 + " }}",
            "{{ to" + "|e" * 500 + " }}",
            "x" * 65537,
        ):
            self.assertTrue(self.problem(text), text[:40])
        self.assertIn("Line 2:", self.problem("a\n{{ nothing }}"))
        self.assertIn("nothing", self.problem("{{ nothing }}"))

    def test_wrong_arguments(self) -> None:
        for text in (
            "{{ to|truncate('x') }}",
            "{{ to|truncate(1) }}",
            "{{ to|truncate(1, 2, 3, 4, 5, 6) }}",
            "{{ to|default(1, 2, 3) }}",
        ):
            self.assertIn("Cannot be rendered", self.problem(text))

    def test_what_it_renders_is_bounded(self) -> None:
        compiled = Compiled(Template("s", "{{ token }}" * 150, ""))
        error = self.assertRaises(Problems, compiled.render, {**EMPTY, "token": "x" * 4096})
        assert isinstance(error, Problems)
        self.assertIn("longer than", error.problems["text"])

    def test_how_much_it_may_ask_for(self) -> None:
        """None takes long to be made ready, or to be rendered with whatever a call brings."""
        self.assertIn("too complicated", self.problem("{{ to }}" * 500))
        self.assertIn("no more than 3 filters", self.problem("{{ to|e|e|e|e }}"))
        self.assertIn("no more than 3 filters", self.problem("{{ to|default(token|e|default(link|e)|e) }}"))
        asking = "{% if token|urlencode|urlencode|urlencode == to %}{% endif %}"
        compiled = Compiled(Template("s", asking * 50, ""))
        self.assertEqual(compiled.render({**EMPTY, "token": "\U0010ffff" * 4096}).text, "")
        self.assertIn("too complicated", self.problem(asking * 100))

    @given(st.text("{}%# \nabtokenif|e'\"()[]._~=+*", max_size=60))
    def test_anything(self, text: str) -> None:
        """Either it is refused in words, or it renders something bounded."""
        try:
            made = rendered(text)
        except Problems as problems:
            self.assertTrue(problems.problems)
        else:
            self.assertLessEqual(len(made.text), template_language.RENDERED_LIMIT)

    def test_defaults(self) -> None:
        for type, template in DEFAULTS.items():
            for filled in (EMPTY, dict.fromkeys(VARIABLES, "<x>")):
                made = Compiled(template).render({**filled, "subject": "S"})
                self.assertEqual(made.subject, "S")
                self.assertNotIn("<x>", made.html)
                self.assertTrue(made.html.isascii() and made.text.isascii(), type)


class Given(SynchronousTestCase):
    """What a call and the settings make of the values."""

    def values(self, type: str = "email_verification", link: str = "", **settings: Any) -> dict[str, str]:
        return values(
            type, Webhook(**settings), to="a@b", subject="s", token="t/&", expires_at="2026", expires=1771653600.0, given_link=link
        )

    def test_links(self) -> None:
        site = {"public_web_url": "https://app.example.org/base/"}
        self.assertEqual(self.values()["link"], "")
        self.assertEqual(self.values(**site)["link"], "https://app.example.org/base/verify-email?token=t%2F%26")
        self.assertEqual(self.values("password_reset", **site)["link"], "https://app.example.org/base/reset-password?token=t%2F%26")
        self.assertEqual(self.values(link="https://x.example/", **site)["link"], "https://x.example/")
        self.assertEqual(self.values(link="https://x.example/", include_link=False, **site)["link"], "")

    def test_all_have_a_value(self) -> None:
        given = self.values()
        self.assertEqual(set(given), set(VARIABLES))
        self.assertEqual(given["expires"], "21 February 2026, 06:00 UTC")


class Kept(TestCase):
    """In the database."""

    async def setUp(self) -> None:
        self.world = await world(self)
        self.templates = await self.opened()

    async def opened(self) -> Templates:
        made = Templates(self.world.store, self.world.cipher, Settings(self.world.config), self.world.reactor)
        await made.load()
        return made

    def subject(self, templates: Templates) -> str:
        return templates.render("password_reset", templates.sample("password_reset")).subject

    async def test_saved_and_put_back(self) -> None:
        other = await self.opened()
        await self.templates.save("password_reset", Template("Mine: {{ subject }}", "x", ""))
        self.assertEqual(self.subject(self.templates), "Mine: Reset your password")
        self.assertEqual(self.subject(await self.opened()), "Mine: Reset your password")
        self.assertEqual(self.subject(other), "Reset your password")
        await other.load()
        self.assertEqual(self.subject(other), "Mine: Reset your password")
        await self.templates.reset("password_reset")
        self.assertEqual(self.subject(self.templates), "Reset your password")
        await other.load()
        self.assertEqual(self.subject(other), "Reset your password")
        self.assertTrue(other.is_default("password_reset"))

    async def test_saved_while_they_are_read(self) -> None:
        """What was read before the change does not take it back."""
        store = self.world.store
        read: Deferred[list[tuple[str, bytes]]] = Deferred()
        self.patch(self.templates, "_store", SimpleNamespace(read=lambda job: read))
        loading = ensureDeferred(self.templates.load())
        self.patch(self.templates, "_store", store)
        await self.templates.save("password_reset", Template("Mine", "x", ""))
        read.callback([])
        await loading
        self.assertEqual(self.subject(self.templates), "Mine")

    async def test_wrong_ones_are_not_kept(self) -> None:
        wrong = (("", "x"), ("s", ""), ("{% if to == link %}x{% endif %}", "x"), ("s", "{{"))
        for template in [Template(subject, text, "") for subject, text in wrong]:
            with self.assertRaises(Problems):
                await self.templates.save("password_reset", template)
        self.assertEqual(await self.world.store.read(store_templates.every), [])

    async def test_damaged(self) -> None:
        """A mail goes out all the same."""
        await self.world.store.write(store_templates.put, "password_reset", b"damaged")
        sealed = self.world.cipher.seal(b"template", b"email_verification", b'{"subject": "{{", "text": "", "html": ""}')
        await self.world.store.write(store_templates.put, "email_verification", sealed)
        other = await self.opened()
        self.assertEqual(self.subject(other), "Reset your password")
        self.assertTrue(other.is_default("password_reset") and other.is_default("email_verification"))

    async def test_sealed(self) -> None:
        await self.templates.save("password_reset", Template("Mine", "x", ""))
        ((_, content),) = await self.world.store.read(store_templates.every)
        self.assertNotIn(b"Mine", content)
