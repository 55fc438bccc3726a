// Makes the component of a project: `node .pintle/sdk/js/build.mjs OUTPUT [--small]`, in the project's folder.
//
// The component's module is written here: it hands the world's imports to the SDK and exports what the SDK makes of the author's
// `policy.js`. The interpreter's WASI imports are replaced by traps, so that the component imports its world's packages alone.

import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const EXPORTS = {
  scheduler: ["configure", "reset", "feed", "schedule", "rank", "preempt", "explain"],
  controller: ["watches", "route", "reconcile"],
  ingress: ["compile"],
};
const OWN_IMPORTS = { controller: ["objects"] };

const [output, ...options] = process.argv.slice(2);
if (!output) {
  console.error("usage: node .pintle/sdk/js/build.mjs OUTPUT [--small]");
  process.exit(2);
}
const folder = process.cwd();
const { world } = JSON.parse(readFileSync("plugin.json", "utf8"));
if (!EXPORTS[world]) {
  console.error(`plugin.json: ${JSON.stringify(world)} is none of the worlds ${Object.keys(EXPORTS).join(", ")}`);
  process.exit(1);
}

/** The module that is evaluated when the component is made. */
function entry() {
  const own = OWN_IMPORTS[world] ?? [];
  return [
    `import env from "pintle:host/env@${versionOf("host")}";`,
    ...own.map((name) => `import ${name} from "pintle:${world}/${name}@${versionOf(world)}";`),
    `import { connect } from "../sdk/js/src/host.js";`,
    `import { ${world} } from "../sdk/js/src/${world}.js";`,
    `connect({ env, ${own.join(", ")} });`,
    `const policy = await import("../../policy.js");`,
    `const made = ${world}(policy);`,
    ...EXPORTS[world].map((name) => `export const ${name} = made.${name};`),
  ].join("\n");
}

/** Which version of a package the project has. */
function versionOf(name) {
  const text = readFileSync(path.join(".pintle", "wit", name, `${name}.wit`), "utf8");
  return /^package pintle:[a-z]+@([0-9.]+);/m.exec(text)[1];
}

/** The world's package with what it uses in `deps`, as the tool wants it. */
function wit() {
  const there = path.join(".pintle", "wit");
  const made = path.join(".pintle", "build", "wit");
  rmSync(made, { recursive: true, force: true });
  mkdirSync(path.join(made, "deps"), { recursive: true });
  cpSync(path.join(there, world), made, { recursive: true });
  cpSync(path.join(there, "host"), path.join(made, "deps", "host"), { recursive: true });
  return made;
}

const made = wit();
const main = path.join(folder, ".pintle", "build", "entry.js");
writeFileSync(main, entry());
const require = createRequire(pathToFileURL(path.join(folder, "package.json")));
const { componentize } = require("componentize-qjs");
try {
  const { component } = await componentize({
    witPath: made,
    world,
    jsSource: readFileSync(main, "utf8"),
    jsPath: main,
    moduleRoot: folder,
    sync: true,
    // Built sooner, and runs slower.
    optSize: options.includes("--small"),
    stubWasi: true,
  });
  writeFileSync(output, component);
} catch (error) {
  console.error(String(error.message ?? error).replace(/^: /, ""));
  process.exit(1);
}
