// What the host passes on of an object: the contract's `reading`, for tests.

/** What the paths of names lead to, with the way there: objects without their other members, and each element of a list. An object in which
 * the way ends without leading anywhere is left out, unless it is such an element. */
export function part(value, paths) {
  if (paths.some((path) => path.length === 0)) return value;
  if (Array.isArray(value)) return value.map((element) => part(element, paths));
  if (typeof value !== "object" || value === null) return value;
  const kept = {};
  for (const [name, member] of Object.entries(value)) {
    const behind = paths.filter(([first]) => first === name).map(([, ...rest]) => rest);
    if (behind.length === 0) continue;
    const found = part(member, behind);
    if (!isEmpty(found) || behind.some((path) => path.length === 0)) kept[name] = found;
  }
  return kept;
}

function isEmpty(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value) && Object.keys(value).length === 0;
}
