"""What the resources declare: every route, truly, and with a scope that keys can have."""

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.core.api_keys import READ, SCOPES
from mailx.ops import administration
from mailx.ops.openapi import describe
from mailx.ops.resources.shape import COUNT, FLAG, list_of, name, one_of, optional, problem, record, text


class Declarations(SynchronousTestCase):
    def test_every_route_is_declared(self) -> None:
        for path, method, operation in administration.ROUTES:
            shape = administration.SHAPES[operation]
            self.assertTrue(shape.strict, f"{operation} declares nothing")
            self.assertTrue(shape.summary.endswith("."), operation)
            self.assertEqual(method == "GET", not shape.action and not shape.part, f"{method} {path}")
            if shape.part:
                self.assertIn(shape.part, {each.action for each in administration.SHAPES.values()})
            if shape.action:
                self.assertRegex(shape.action, r"\A[a-z_]+\.[a-z_]+\Z")

    def test_every_scope_can_be_given(self) -> None:
        self.assertEqual(set(administration.SCOPES.values()) - set(SCOPES), set())
        self.assertEqual(set(SCOPES) - set(administration.SCOPES.values()), set(), "scopes that allow nothing")
        self.assertEqual({administration.SCOPES[op] for _, method, op in administration.ROUTES if method == "GET"}, {READ})

    def test_the_description(self) -> None:
        made = describe(
            (path, method, op, administration.SHAPES[op], administration.SCOPES[op]) for path, method, op in administration.ROUTES
        )
        self.assertEqual(made["openapi"], "3.1.0")
        operations = [operation for path in made["paths"].values() for operation in path.values()]
        self.assertEqual(len(operations), len(administration.ROUTES))
        self.assertEqual(len({operation["operationId"] for operation in operations}), len(operations))
        for path, methods in made["paths"].items():
            for operation in methods.values():
                declared = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
                self.assertEqual(declared, set(re.findall(r"{(\w+)}", path)))


BODY = record({"name": name(10)}, many=list_of(text(3), 2, 1), kind=one_of("a", "b"), size=optional(COUNT), on=FLAG)


class Problems(SynchronousTestCase):
    def test_what_fits(self) -> None:
        for value in ({"name": "x"}, {"name": "x", "many": ["abc"], "kind": "a", "size": None, "on": False}, {"name": "é", "size": 0}):
            self.assertEqual(problem(BODY, value), "")

    def test_what_does_not(self) -> None:
        for value, said in (
            ([], "the body must be an object"),
            ({}, "name is missing"),
            ({"name": ""}, "name is empty"),
            ({"name": "x" * 11}, "name is longer than 10 characters"),
            ({"name": "a\nb"}, "name has not the form that is asked for"),
            ({"name": "ab\n"}, "name has not the form that is asked for"),
            ({"name": 5}, "name must be a text"),
            ({"name": "x", "many": []}, "many is empty"),
            ({"name": "x", "many": ["a", "b", "c"]}, "many has more than 2 items"),
            ({"name": "x", "many": ["a", None]}, "each of many must be a text"),
            ({"name": "x", "kind": "c"}, "kind must be one of a, b"),
            ({"name": "x", "size": True}, "size must be a whole number or null"),
            ({"name": "x", "size": -1}, "size is out of range"),
            ({"name": "x", "on": 1}, "on must be true or false"),
            ({"name": "x", "other": 1}, "there is no other here"),
            ({"name": "x", "\x1b[31m": 1}, "there is no such member here"),
        ):
            self.assertEqual(problem(BODY, value), said)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
        )
    )
    def test_anything_is_judged(self, value: object) -> None:
        self.assertIsInstance(problem(BODY, value), str)
