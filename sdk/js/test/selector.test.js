import assert from "node:assert/strict";
import test from "node:test";

import { meets, parseSelector } from "../src/selector.js";

test("the string form", () => {
  const check = (selector, labels, expected) => assert.equal(parseSelector(selector)(labels), expected, selector);
  check("", undefined, true);
  check("a=b", { a: "b" }, true);
  check("a==b,c!=d", { a: "b", c: "e" }, true);
  check("a=b,c!=d", { a: "b", c: "d" }, false);
  check("a in (b, c),d", { a: "c", d: "" }, true);
  check("a notin (b,c)", { a: "c" }, false);
  check("a notin (b,c)", {}, true);
  check("!a", { a: "" }, false);
  assert.throws(() => parseSelector("a b"), /unable to parse/);
});

test("requirements", () => {
  const check = (operator, values, found, expected) =>
    assert.equal(meets([{ key: "k", operator, values }], found === undefined ? {} : { k: found }), expected, operator);
  check("in", ["a", "b"], "b", true);
  check("in", ["a"], undefined, false);
  check("not-in", ["a"], undefined, true);
  check("exists", [], "", true);
  check("does-not-exist", [], "", false);
  check("gt", ["5"], "6", true);
  check("gt", ["5"], "5", false);
  check("lt", ["5"], "-6", true);
  check("lt", ["5"], "x", false);
});
