//! Several servers over one etcd of several members: any one process may die at any time, and clients with the usual retry lose nothing.

mod load;
mod processes;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pintle_api::client::{Target, WriteOptions};
use pintle_api::object::ObjectExt as _;
use pintle_api::{Client as _, GroupVersionResource};
use pintle_client::{Config, Credentials, HttpClient};
use serde_json::json;

use super::run::{kubectl, output, pintle, wait};
use super::stages::{OWNER, POLICY, built_policy};
use load::Front;
pub use processes::Several;
use processes::{MEMBERS, SERVERS};

const LEASES: GroupVersionResource = GroupVersionResource::constant("coordination.k8s.io", "v1", "leases");
const NAMESPACES: GroupVersionResource = GroupVersionResource::constant("", "v1", "namespaces");
const SERVICES: GroupVersionResource = GroupVersionResource::constant("", "v1", "services");
const ACCOUNTS: GroupVersionResource = GroupVersionResource::constant("", "v1", "serviceaccounts");
const REVIEWS: GroupVersionResource = GroupVersionResource::constant("authentication.k8s.io", "v1", "selfsubjectreviews");
const WRITERS: usize = 6;
const WATCHERS: usize = 3;
/// Work goes on this long with a process missing, and with all of them, each time.
const PHASE: Duration = Duration::from_millis(1500);
/// A lease that nobody renews is free after 15 s; a candidate looks every 2.
const TAKE_OVER: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_one_of_six_processes_dies_under_load_and_nothing_is_lost() {
    let mut several = Several::start();
    let front = Front::new((0..SERVERS).map(|n| several.client(n)).collect());
    let (stop, watched) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let writers: Vec<_> = (0..WRITERS).map(|n| tokio::spawn(load::write(front.clone(), format!("w{n}"), stop.clone()))).collect();
    let watchers: Vec<_> = (0..WATCHERS).map(|_| tokio::spawn(load::watch(front.clone(), watched.clone()))).collect();
    tokio::time::sleep(PHASE).await;
    for n in 0..MEMBERS {
        println!("without member {n}");
        several.kill_member(n);
        tokio::time::sleep(PHASE).await;
        tokio::task::block_in_place(|| several.start_member(n));
        tokio::time::sleep(PHASE).await;
    }
    for n in 0..SERVERS {
        println!("without server {n}");
        several.kill_server(n);
        tokio::time::sleep(PHASE).await;
        tokio::task::block_in_place(|| several.start_server(n));
        front.replace(n, several.client(n));
        tokio::time::sleep(PHASE).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut accounts = Vec::new();
    for writer in writers {
        accounts.push(writer.await.expect("the writer found what it wrote"));
    }
    // The watchers hear of the last write, too.
    tokio::time::sleep(PHASE).await;
    watched.store(true, Ordering::Relaxed);
    let mut seen = Vec::new();
    for watcher in watchers {
        seen.push(watcher.await.expect("the watcher was told everything in order"));
    }
    for n in 0..SERVERS {
        let found = load::everything(&several.client(n)).await;
        let made: usize = accounts.iter().map(|a| 1 + a.made.len()).sum();
        assert_eq!(found.len(), made, "server {n} has what was made and nothing else");
        for (writer, account) in accounts.iter().enumerate() {
            let name = format!("w{writer}");
            assert_eq!(found[&name].str_at(&["data", "n"]), account.counted.to_string(), "{name} on server {n}");
            assert!(account.made.iter().all(|made| found.contains_key(made)));
        }
    }
    for watcher in &seen {
        for (writer, account) in accounts.iter().enumerate() {
            assert_eq!(watcher.counted.get(&format!("w{writer}")), Some(&account.counted), "a watcher's last word on w{writer}");
        }
    }
    let (steps, failures): (u64, usize) = (accounts.iter().map(|a| a.counted).sum(), accounts.iter().map(|a| a.failures).sum());
    println!(
        "{steps} steps, {failures} calls made again; watchers: {:?}",
        seen.iter().map(|s| (s.events, s.resumed, s.relisted)).collect::<Vec<_>>()
    );
    assert!(steps > 100 && failures > 0, "{steps} steps, {failures} failures: the test tests nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_leads_and_another_takes_over() {
    let mut several = Several::start();
    let (leader, transitions) = holder(&several).await;
    works(&several.client((leader + 1) % SERVERS), "first").await;

    several.kill_server(leader);
    let other = (leader + 1) % SERVERS;
    let (second, after) = tokio::time::timeout(TAKE_OVER, changed(&several, leader, other)).await.expect("another server takes over");
    assert_eq!(after, transitions + 1);
    works(&several.client(other), "second").await;

    // A clean end gives the lease back: nobody waits for it to expire.
    let third = 3 - leader - second;
    tokio::task::block_in_place(|| several.end_server(second));
    let began = std::time::Instant::now();
    tokio::time::timeout(TAKE_OVER, changed(&several, second, third)).await.expect("the third takes over");
    assert!(began.elapsed() < Duration::from_secs(10), "given back, not expired: {:?}", began.elapsed());
    works(&several.client(third), "third").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_one_server_is_good_at_another_and_no_number_is_given_twice() {
    let several = Several::start();
    let account = Target::object(ACCOUNTS, Some("default"), "default").subresource("token");
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let clients: Vec<HttpClient> = (0..SERVERS).map(|n| several.client(n)).collect();
    let mut made = clients[0].create(&account, request.clone(), &WriteOptions::default()).await;
    for _ in 0..100 {
        if made.is_ok() {
            break;
        }
        // The account is made by the server that leads, a moment after the namespace.
        tokio::time::sleep(Duration::from_millis(200)).await;
        made = clients[0].create(&account, request.clone(), &WriteOptions::default()).await;
    }
    let token = made.expect("a token").parse().expect("JSON").str_at(&["status", "token"]).to_owned();
    for n in 0..SERVERS {
        let credentials = Credentials { token: Some(token.clone()), ..Credentials::default() };
        let bearer = HttpClient::new(&Config { credentials, ..several.config(n) }).expect("a client");
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
        let told = bearer.create(&Target::collection(REVIEWS, None), review, &WriteOptions::default()).await.expect("the token is good");
        assert_eq!(told.parse().expect("JSON").str_at(&["status", "userInfo", "username"]), "system:serviceaccount:default:default");
    }

    // All servers give out addresses and ports at once, from a range where they meet.
    let services = (0..60).map(|n| {
        let client = clients[n % SERVERS].clone();
        async move {
            let port = json!({"port": 80, "nodePort": 30000 + n / 2});
            let service = json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("s{n}")},
                "spec": {"type": "NodePort", "selector": {"a": "b"}, "ports": [port]},
            });
            client.create(&Target::collection(SERVICES, Some("default")), service, &WriteOptions::default()).await
        }
    });
    let made = futures::future::join_all(services).await;
    for pair in made.chunks(2) {
        let refused: Vec<_> = pair.iter().filter_map(|m| m.as_ref().err()).collect();
        assert_eq!(refused.len(), 1, "two ask for one port, of different servers: {pair:?}");
        assert!(refused[0].message.contains("provided port is already allocated"), "{}", refused[0]);
    }
    let mut addresses: Vec<String> = made.iter().flatten().map(|s| s.parse().expect("JSON").str_at(&["spec", "clusterIP"]).to_owned()).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 30);
}

/// Each server asks the candidate about the requests that come to it; the one that leads adds up, and a promotion counts on all.
#[test]
fn a_policys_candidate_is_counted_on_every_server() {
    let several = Several::start();
    let folder = built_policy();
    let config = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(config.path(), OWNER).expect("is writable");
    let config = config.path().display().to_string();
    let on = |server: usize, program: PathBuf, args: &[&str]| output(Command::new(program).env("KUBECONFIG", several.kubeconfig(server)).args(args));
    let owner = |server: usize, pod: &str| {
        on(server, kubectl(), &["run", pod, "--image=x"]).ok();
        on(server, kubectl(), &["get", "pod", pod, "-o", r"jsonpath={.metadata.labels.budget\.pintle\.dev/owner}"]).ok()
    };

    on(0, pintle(), &["plugin", "apply", &folder, "--timeout", "120s"]).ok();
    for server in 0..SERVERS {
        // Until a server has loaded the policy, it lets nothing pass.
        wait("the policy on each server", 120, || {
            let asked = on(server, kubectl(), &["run", "probe", "--image=x", "--dry-run=server"]);
            if asked.success { Ok(()) } else { Err(asked.stderr) }
        });
    }
    on(0, pintle(), &["plugin", "apply", &folder, "--config", &config, "--stage", "Shadow", "--timeout", "120s"]).ok();
    wait("the candidate on each server", 120, || {
        let seen = on(1, kubectl(), &["get", "plugin", POLICY, "-o", "jsonpath={.status.candidateByServer}"]).ok();
        if seen.matches("\"generation\":").count() == SERVERS { Ok(()) } else { Err(seen) }
    });
    for server in 0..SERVERS {
        assert_eq!(owner(server, &format!("a{server}")), "");
    }
    // Of each pod, the turn in which the owner would have been written, and the one in which nothing is refused.
    wait("what all servers compared", 60, || {
        let seen = on(2, pintle(), &["plugin", "diff", POLICY]);
        let differences = seen.stdout.lines().filter(|l| l.contains(" Object CREATE pods default/a")).count();
        if seen.stdout.contains("3 of 6 decisions agreed, 0 faults") && differences == SERVERS { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    on(1, pintle(), &["plugin", "promote", POLICY]).ok();
    for server in 0..SERVERS {
        let mut tries = 0;
        wait("the promoted revision on each server", 60, || {
            tries += 1;
            let seen = owner(server, &format!("b{server}-{tries}"));
            if seen == OWNER { Ok(()) } else { Err(seen) }
        });
    }
}

/// Which server holds the lease, and how often it changed hands.
async fn holder(several: &Several) -> (usize, i64) {
    tokio::time::timeout(TAKE_OVER, changed(several, SERVERS, 0)).await.expect("somebody leads")
}

/// The holder that is not `before`, as `ask` tells it.
async fn changed(several: &Several, before: usize, ask: usize) -> (usize, i64) {
    let target = Target::object(LEASES, Some("kube-system"), "pintle-controllers");
    loop {
        if let Ok(served) = several.client(ask).get(&target).await {
            let lease = served.parse().expect("JSON");
            let identity = lease.str_at(&["spec", "holderIdentity"]).to_owned();
            let address = identity.split('_').next().unwrap_or_default().to_owned();
            let leads = (0..SERVERS).find(|n| !address.is_empty() && several.config(*n).server.ends_with(&address));
            if let Some(leader) = leads.filter(|leader| *leader != before) {
                return (leader, lease.i64_at(&["spec", "leaseTransitions"]).unwrap_or(0));
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Bookkeeping and controllers do their work: a namespace ends, and a Deployment gets its ReplicaSet.
async fn works(client: &HttpClient, name: &str) {
    const DEPLOYMENTS: GroupVersionResource = GroupVersionResource::constant("apps", "v1", "deployments");
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    client.create(&Target::collection(NAMESPACES, None), namespace, &WriteOptions::default()).await.expect("a namespace");
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "pintle.dev/hello:v1"}]}},
        },
    });
    client.create(&Target::collection(DEPLOYMENTS, Some(name)), deployment, &WriteOptions::default()).await.expect("a Deployment");
    let target = Target::object(DEPLOYMENTS, Some(name), "web");
    eventually("the Deployment is seen to", || async {
        let web = client.get(&target).await.ok()?.parse().ok()?;
        (web.i64_at(&["status", "replicas"]) == Some(1)).then_some(())
    })
    .await;
    let target = Target::object(NAMESPACES, None, name);
    client.delete(&target, &Default::default()).await.expect("the namespace begins to end");
    eventually("the namespace ends", || async { client.get(&target).await.is_err_and(|gone| gone.code == 404).then_some(()) }).await;
}

async fn eventually<F: Future<Output = Option<()>>>(what: &str, look: impl Fn() -> F) {
    let waiting = async {
        while look().await.is_none() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(TAKE_OVER, waiting).await.unwrap_or_else(|_| panic!("{what}: not within {TAKE_OVER:?}"));
}
