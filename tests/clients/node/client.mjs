// Drives the Kubernetes client for Node.js as a script's author does: see ../README.md for the steps and how a program talks with the test that
// runs it.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import readline from 'node:readline';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';

import * as k8s from '@kubernetes/client-node';

const PATIENCE_MS = 60_000;
const POD = 'clients';
const [namespace, ...wanted] = process.argv.slice(2);

const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);
const input = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Asks the test to kill the server and start it again at its address, and returns when that is done. */
async function restart() {
    console.log('restart');
    assert.equal((await input.next()).done, false);
}

/** The Status of a call that must be refused. */
async function refused(code, reason, call) {
    let error;
    try {
        await call;
    } catch (e) {
        error = e;
    }
    assert.ok(error, `was not refused; wanted ${code} ${reason}`);
    const status = typeof error.body === 'string' ? JSON.parse(error.body) : error.body;
    assert.deepEqual([error.code, status.code, status.reason], [code, code, reason], error.message);
    return status;
}

const configMap = (name, data, labels) => core.createNamespacedConfigMap({ namespace, body: { metadata: { name, labels }, data } });
const typed = (strategy) => k8s.setHeaderOptions('Content-Type', strategy);
const names = (list) => list.items.map((item) => item.metadata.name);

async function pagedList() {
    for (let n = 0; n < 25; n++) await configMap(`page-${String(n).padStart(2, '0')}`, undefined, { step: 'page' });
    const seen = [];
    let pages = 0;
    let token;
    do {
        const page = await core.listNamespacedConfigMap({ namespace, labelSelector: 'step=page', limit: 10, _continue: token });
        seen.push(...names(page));
        token = page.metadata._continue;
        pages++;
    } while (token);
    assert.deepEqual([pages, seen.length, seen], [3, 25, seen.toSorted()]);
}

async function expiredContinue() {
    const page = await core.listNamespacedConfigMap({ namespace, limit: 5 });
    await configMap('written-after-the-page');
    await restart();
    const status = await refused(410, 'Expired', core.listNamespacedConfigMap({ namespace, limit: 5, _continue: page.metadata._continue }));
    const rest = await core.listNamespacedConfigMap({ namespace, _continue: status.metadata.continue });
    assert.deepEqual([...names(page), ...names(rest)], names(await core.listNamespacedConfigMap({ namespace })));
}

function deployment(name) {
    const containers = ['a', 'b'].map((c) => ({ name: c, image: `${c}:1` }));
    return {
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name, annotations: { keep: '1', drop: '1' } },
        spec: { replicas: 2, selector: { matchLabels: { app: name } }, template: { metadata: { labels: { app: name } }, spec: { containers } } },
    };
}

async function patchJson() {
    await apps.createNamespacedDeployment({ namespace, body: deployment('json') });
    const test = { op: 'test', path: '/spec/replicas', value: 2 };
    const patch = (body) => apps.patchNamespacedDeployment({ namespace, name: 'json', body }, typed(k8s.PatchStrategy.JsonPatch));
    const seen = await patch([test, { op: 'replace', path: '/spec/replicas', value: 3 }]);
    assert.equal(seen.spec.replicas, 3);
    await refused(422, 'Invalid', patch([test]));
}

async function patchMerge() {
    await apps.createNamespacedDeployment({ namespace, body: deployment('merge') });
    const body = { metadata: { annotations: { drop: null, new: '1' } } };
    const seen = await apps.patchNamespacedDeployment({ namespace, name: 'merge', body }, typed(k8s.PatchStrategy.MergePatch));
    assert.deepEqual(Object.keys(seen.metadata.annotations).sort(), ['keep', 'new']);
}

async function patchStrategic() {
    await apps.createNamespacedDeployment({ namespace, body: deployment('strategic') });
    const containers = [{ name: 'a', image: 'a:2' }, { name: 'b', $patch: 'delete' }, { name: 'c', image: 'c:1' }];
    const body = { spec: { template: { spec: { containers } } } };
    const seen = await apps.patchNamespacedDeployment({ namespace, name: 'strategic', body }, typed(k8s.PatchStrategy.StrategicMergePatch));
    assert.deepEqual(seen.spec.template.spec.containers.map((c) => c.image).sort(), ['a:2', 'c:1']);
}

async function patchApply() {
    const objects = k8s.KubernetesObjectApi.makeApiClient(config);
    const apply = (body) => objects.patch(body, undefined, undefined, 'tests', undefined, k8s.PatchStrategy.ServerSideApply);
    const whole = deployment('apply');
    whole.metadata.namespace = namespace;
    await apply(whole);
    const less = structuredClone(whole);
    delete less.metadata.annotations;
    delete less.spec.replicas;
    less.spec.template.spec.containers.pop();
    const seen = await apply(less);
    assert.deepEqual([seen.spec.template.spec.containers.length, seen.spec.replicas, seen.metadata.annotations], [1, 1, undefined]);
}

async function applyConflict() {
    const apply = (fieldManager, value, force) => {
        const body = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'contested' }, data: { x: value, [fieldManager]: 'mine' } };
        return core.patchNamespacedConfigMap({ namespace, name: 'contested', body, fieldManager, force }, typed(k8s.PatchStrategy.ServerSideApply));
    };
    await apply('one', '1');
    const status = await refused(409, 'Conflict', apply('two', '2'));
    assert.deepEqual(status.details.causes, [{ reason: 'FieldManagerConflict', message: 'conflict with "one"', field: '.data.x' }]);
    const seen = await apply('two', '2', true);
    assert.deepEqual(seen.data, { x: '2', one: 'mine', two: 'mine' });
    await refused(409, 'Conflict', apply('one', '1'));
}

async function updateConflict() {
    const old = await configMap('locked', { n: '0' });
    const newer = await core.readNamespacedConfigMap({ namespace, name: 'locked' });
    newer.data.n = '1';
    await core.replaceNamespacedConfigMap({ namespace, name: 'locked', body: newer });
    const status = await refused(409, 'Conflict', core.replaceNamespacedConfigMap({ namespace, name: 'locked', body: old }));
    assert.match(status.message, /the object has been modified; please apply your changes to the latest version and try again/);
    await refused(409, 'Conflict', core.deleteNamespacedConfigMap({ namespace, name: 'locked', body: { preconditions: { uid: 'other' } } }));
}

// An informer, which its author starts again when it reports an error, as the client's documentation says.
async function watchOverRestart() {
    const labels = { step: 'watch' };
    await configMap('before', undefined, labels);
    const list = () => core.listNamespacedConfigMap({ namespace, labelSelector: 'step=watch' });
    const informer = k8s.makeInformer(config, `/api/v1/namespaces/${namespace}/configmaps`, list, 'step=watch');
    const events = [];
    for (const verb of ['add', 'update', 'delete']) informer.on(verb, (object) => events.push(`${verb} ${object.metadata.name}`));
    let over = false;
    informer.on('error', async () => {
        await sleep(100);
        if (!over) await informer.start();
    });
    const expect = async (event) => {
        const end = Date.now() + PATIENCE_MS;
        while (events.length === 0 && Date.now() < end) await sleep(20);
        assert.equal(events.shift(), event);
    };
    await informer.start();
    await expect('add before');
    await configMap('second', undefined, labels);
    await expect('add second');
    await restart();
    await core.deleteNamespacedConfigMap({ namespace, name: 'before' });
    await expect('delete before');
    await configMap('after', undefined, labels);
    await expect('add after');
    await core.patchNamespacedConfigMap({ namespace, name: 'second', body: { data: { x: '1' } } }, typed(k8s.PatchStrategy.MergePatch));
    await expect('update second');
    over = true;
    await informer.stop();
}

async function exec() {
    const run = async (command, stdin) => {
        const [out, err] = [new PassThrough(), new PassThrough()];
        let status;
        // Standard input stays open: in the fourth version of the protocol its end would end everything.
        const given = stdin ? new PassThrough() : null;
        given?.write(stdin);
        const socket = await new k8s.Exec(config).exec(namespace, POD, 'main', command, out, err, given, false, (s) => (status = s));
        await once(socket, 'close');
        out.end();
        err.end();
        return [await text(out), await text(err), status];
    };
    const [out, err, status] = await run(['sh', '-c', 'echo out; echo err >&2']);
    assert.deepEqual([out, err, status?.status], ['out\n', 'err\n', 'Success']);
    assert.deepEqual((await run(['head', '-n', '2'], 'several\nlines\n'))[0], 'several\nlines\n');
    const failed = (await run(['sh', '-c', 'exit 7']))[2];
    assert.deepEqual([failed.status, failed.reason, failed.details.causes[0].message], ['Failure', 'NonZeroExitCode', '7']);
}

const steps = {
    'paged-list': pagedList,
    'expired-continue': expiredContinue,
    'patch-json': patchJson,
    'patch-merge': patchMerge,
    'patch-strategic': patchStrategic,
    'patch-apply': patchApply,
    'apply-conflict': applyConflict,
    'update-conflict': updateConflict,
    'watch-over-restart': watchOverRestart,
    exec,
};

for (const name of wanted) {
    await steps[name]();
    console.log('done', name);
}
process.exit(0);
