"""What browsers send, and what nobody's browser would."""

from urllib.parse import urlencode

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.web.forms import FIELDS, BadForm, Form, FormError, parse_urlencoded


class Urlencoded(SynchronousTestCase):
    def test_values(self) -> None:
        form = parse_urlencoded(b"a=1&a=2&b=%C3%A4+x&empty=&lines=one%0D%0Atwo")
        self.assertEqual(form.texts("a"), ("1", "2"))
        self.assertEqual(form.text("a"), "2")
        self.assertEqual(form.text("b"), "ä x")
        self.assertEqual(form.text("empty", "default"), "")
        self.assertEqual(form.text("missing", "default"), "default")
        self.assertEqual(form.lines("lines"), ("one", "two"))
        self.assertTrue(form.ticked("a"))
        self.assertFalse(form.ticked("missing"))

    def test_bad(self) -> None:
        for body in (b"a=%FF", "a=ä".encode(), b"a=%00", b"&".join([b"a=1"] * (FIELDS + 1)), b"x" * 101 + b"=1"):
            with self.assertRaises(BadForm):
                parse_urlencoded(body)

    @given(st.binary(max_size=300))
    def test_anything(self, body: bytes) -> None:
        try:
            parse_urlencoded(body)
        except BadForm:
            pass

    @given(
        st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20), st.text("abc ä&=%+\n", max_size=40)
        )
    )
    def test_round_trip(self, values: dict[str, str]) -> None:
        form = parse_urlencoded(urlencode(values).encode())
        self.assertEqual({name: form.exact(name) for name in values}, values)


class Values(SynchronousTestCase):
    def problem(self, call: object, *args: object) -> str:
        assert callable(call)
        with self.assertRaises(FormError) as caught:
            call(*args)
        return next(iter(caught.exception.problems.values()))

    def test_numbers(self) -> None:
        form = parse_urlencoded(b"n=12&bad=x&big=1000000&arabic=%D9%A1&long=" + b"1" * 40)
        self.assertEqual(form.number("n", 1, 100), 12)
        for name in ("bad", "big", "arabic", "missing", "long"):
            with self.assertRaises(FormError):
                form.number(name, 1, 100)

    def test_limits_and_choices(self) -> None:
        form = parse_urlencoded(b"a=" + b"x" * 50 + b"&c=red")
        self.assertIn("longer", self.problem(form.text, "a", "", 49))
        self.assertEqual(form.choice("c", ("red", "green")), "red")
        self.assertIn("Choose", self.problem(form.choice, "c", ("green",)))
        self.assertIn("Fill", self.problem(form.needed, "missing"))
        with self.assertRaises(FormError):
            form.texts("a", 49)

    def test_shown_again(self) -> None:
        form = parse_urlencoded(b"name=x&box=b").with_problems({"name": "No."})
        self.assertEqual((form.shown("name", "d"), form.shown("other", "d")), ("x", "d"))
        self.assertEqual((form.chosen("box", "b"), form.chosen("box", "a", True)), (True, False))
        self.assertTrue(Form().chosen("box", "a", True))
        self.assertEqual((form.problem("name"), form.problem("other")), ("No.", ""))
