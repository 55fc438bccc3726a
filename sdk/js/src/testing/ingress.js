// A route table from objects, as the host would get it.

import { complete, lift } from "../ingress.js";
import { unparse } from "../bytes.js";

/** Compiles objects, each with its `kind`, and gives the table with all its defaults. */
export function routeTable(policy, objects) {
  const fed = objects.map((object) => ({ kind: object.kind, json: unparse(object) }));
  return complete(policy.compile(lift(fed)));
}
