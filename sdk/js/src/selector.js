// Label selectors: the string form (`a=b,c in (d,e)`), and the requirements that scheduling terms carry.

/** A test over labels; throws where the text is malformed. */
export function parseSelector(text) {
  const requirements = split(text).map(requirement);
  return (labels) => requirements.every((test) => test(labels ?? {}));
}

/** Whether labels meet all of `{ key, operator, values }`. */
export function meets(requirements, labels) {
  for (const requirement of requirements) if (!holds(requirement, labels[requirement.key])) return false;
  return true;
}

function holds({ operator, values }, found) {
  switch (operator) {
    case "in":
      return found !== undefined && values.includes(found);
    case "not-in":
      return found === undefined || !values.includes(found);
    case "exists":
      return found !== undefined;
    case "does-not-exist":
      return found === undefined;
    case "gt":
      return compares(found, values[0], (a, b) => a > b);
    case "lt":
      return compares(found, values[0], (a, b) => a < b);
    default:
      return false;
  }
}

function compares(found, bound, order) {
  const whole = /^[+-]?\d+$/;
  return found !== undefined && bound !== undefined && whole.test(found) && whole.test(bound) && order(Number(found), Number(bound));
}

/** At commas outside of parentheses. */
function split(text) {
  const parts = text.match(/[^,(]+(\([^)]*\))?/g) ?? [];
  return parts.map((part) => part.trim()).filter((part) => part !== "");
}

function requirement(text) {
  const set = text.match(/^(\S+)\s+(in|notin)\s*\(([^)]*)\)$/);
  if (set) {
    const [, key, operator, list] = set;
    const values = list.split(",").map((value) => value.trim());
    return operator === "in" ? (labels) => values.includes(labels[key]) : (labels) => !values.includes(labels[key]);
  }
  const equal = text.match(/^([^\s!=]+)\s*(==|=|!=)\s*(\S*)$/);
  if (equal) {
    const [, key, operator, value] = equal;
    return operator === "!=" ? (labels) => labels[key] !== value : (labels) => labels[key] === value;
  }
  const bare = text.match(/^(!?)\s*([^\s!=]+)$/);
  if (bare) {
    const [, not, key] = bare;
    return (labels) => (labels[key] === undefined) === (not === "!");
  }
  throw new Error(`unable to parse the selector ${JSON.stringify(text)}`);
}
