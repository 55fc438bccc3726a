//! Network, proxy and DNS of a node against a real kernel and a real API server, with pods that are bare network namespaces.
//!
//! Everything happens in a network and a mount namespace of its own that end with the test, so the machine is not touched. Needs
//! root, iptables, iproute2 and util-linux; without root it says so and does nothing.

mod world;

use std::net::Ipv4Addr;
use std::process::Command;

use pintle_node::{dns, network, proxy};
use serde_json::json;
use world::{Pod, World, eventually, talk_tcp};

const INSIDE: &str = "PINTLE_TEST_INSIDE";

#[test]
fn data_plane() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not run: needs root");
        return;
    }
    let script =
        "mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns && mount -t sysfs sysfs /sys && exec \"$0\" --exact inside --ignored --nocapture";
    let status = Command::new("unshare")
        .args(["--net", "--mount", "--propagation", "private", "--fork", "--kill-child=SIGKILL", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "see above");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by data_plane in a namespace of its own"]
async fn inside() {
    assert!(std::env::var_os(INSIDE).is_some(), "only in a namespace of its own");
    let folder = tempfile::tempdir().unwrap();
    let world = World::start(folder.path()).await;
    let config = world.node_config(folder.path());
    let tool = network::Tool::choose().await.unwrap();
    let sources = network::Sources::start(config.client.clone());
    let running = (network::start(&config, &sources, &tool), proxy::start(&config, &sources, &tool), dns::start(&config, &sources));

    eventually("the CNI configuration is written", async || config.cni_conf_dir.join("10-pintle.conflist").exists()).await;
    let (a, b) = (Pod::on_bridge("a", "10.244.0.5"), Pod::on_bridge("b", "10.244.0.6"));
    a.serve_tcp(8080);
    b.serve_tcp(8080);

    cluster_ip_and_node_port(&world, &a, &b).await;
    sticky(&world, &a).await;
    no_endpoints(&world, &a).await;
    udp_moves(&world, &a, &b).await;
    names(&a).await;
    other_machines(&world, &a).await;

    drop(running);
    network::clean_up(None).unwrap();
    network::clean_up(None).unwrap();
    let rules = world::run("iptables-save", &[]);
    assert!(!rules.contains("KUBE") && !rules.contains("PINTLE"), "{rules}");
    assert!(Command::new("ip").args(["link", "show", "cni0"]).output().unwrap().stdout.is_empty());
    assert_eq!(world::run("ip", &["route", "show", "proto", "137"]), "");
}

async fn cluster_ip_and_node_port(world: &World, a: &Pod, b: &Pod) {
    world
        .create(
            "",
            "services",
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"type": "NodePort", "clusterIP": "10.96.7.7", "ports": [{"name": "http", "port": 80, "targetPort": 8080, "nodePort": 30080}]}}),
        )
        .await;
    world.put_slice("web", "http", "TCP", 8080, &["10.244.0.5", "10.244.0.6"]).await;
    eventually("a pod reaches both by the service", async || {
        let answers: Vec<_> = (0..8).filter_map(|_| b.ask_tcp("10.96.7.7:80")).collect();
        answers.iter().any(|x| x.starts_with("a ")) && answers.iter().any(|x| x.starts_with("b "))
    })
    .await;
    // Its own answer comes back through the node; the neighbour sees who asked.
    let answers: Vec<_> = (0..16).map(|_| a.ask_tcp("10.96.7.7:80").expect("an answer")).collect();
    assert!(answers.contains(&"a 10.244.0.1".to_owned()) && answers.contains(&"b 10.244.0.5".to_owned()), "{answers:?}");
    for place in ["10.96.7.7:80", "10.89.0.1:30080", "127.0.0.1:30080"] {
        assert!(talk_tcp(place).is_ok(), "from the node by {place}");
    }
    assert!(a.ask_tcp("10.89.0.1:30080").is_some(), "from a pod by the node's port");
}

async fn sticky(world: &World, a: &Pod) {
    world.patch("", "services", "web", json!({"spec": {"sessionAffinity": "ClientIP"}})).await;
    eventually("a client stays with one endpoint", async || {
        let first = a.ask_tcp("10.96.7.7:80");
        first.is_some() && (0..10).all(|_| a.ask_tcp("10.96.7.7:80").map(world::who) == first.clone().map(world::who))
    })
    .await;
}

async fn no_endpoints(world: &World, a: &Pod) {
    world.put_slice("web", "http", "TCP", 8080, &[]).await;
    let refused = |answer: std::io::Result<String>| answer.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused);
    eventually("a service without endpoints refuses", async || {
        refused(a.inside(|| talk_tcp("10.96.7.7:80"))) && refused(talk_tcp("127.0.0.1:30080"))
    })
    .await;
}

/// A client that keeps its port follows when the endpoint goes.
async fn udp_moves(world: &World, a: &Pod, b: &Pod) {
    a.serve_udp(5300);
    b.serve_udp(5300);
    world
        .create(
            "",
            "services",
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "echo", "namespace": "default"},
        "spec": {"clusterIP": "10.96.7.8", "ports": [{"name": "u", "port": 53, "protocol": "UDP"}]}}),
        )
        .await;
    world.put_slice("echo", "u", "UDP", 5300, &["10.244.0.5"]).await;
    let client = Pod::on_bridge("c", "10.244.0.7");
    let socket = client.udp_socket();
    eventually("UDP reaches the first", async || world::talk_udp(&socket, "10.96.7.8:53").as_deref() == Some("a")).await;
    world.put_slice("echo", "u", "UDP", 5300, &["10.244.0.6"]).await;
    eventually("UDP reaches the second", async || world::talk_udp(&socket, "10.96.7.8:53").as_deref() == Some("b")).await;
}

async fn names(a: &Pod) {
    let server = "10.96.0.10:53";
    eventually("the cluster's DNS answers", async || a.look_up(server, "web.default.svc.cluster.local.").contains(&Ipv4Addr::new(10, 96, 7, 7)))
        .await;
    assert_eq!(a.look_up(server, "kubernetes.default.svc.cluster.local."), [Ipv4Addr::new(10, 96, 0, 1)]);
    assert_eq!(a.look_up(server, "kube-dns.kube-system.svc.cluster.local."), [Ipv4Addr::new(10, 96, 0, 10)]);
    assert_eq!(a.look_up(server, "nothing.default.svc.cluster.local."), Vec::<Ipv4Addr>::new());
}

async fn other_machines(world: &World, a: &Pod) {
    // Outside the cluster the node's address is seen, on another node the pod's own.
    let outside = Pod::on_switch("outside", "10.89.0.99");
    outside.serve_tcp(8080);
    eventually("a machine outside sees the node's address", async || a.ask_tcp("10.89.0.99:8080").as_deref() == Some("outside 10.89.0.1")).await;
    let other = Pod::on_switch("n2", "10.89.0.2");
    other.run(&["addr", "add", "10.244.9.5/32", "dev", "lo"]);
    other.run(&["route", "add", "10.244.0.0/24", "via", "10.89.0.1"]);
    other.serve_tcp(8080);
    world.add_node("n2", "10.89.0.2", Some("10.244.9.0/24")).await;
    eventually("a pod of another node is reached", async || a.ask_tcp("10.244.9.5:8080").as_deref() == Some("n2 10.244.0.5")).await;
    world.delete_node("n2").await;
    eventually("the route goes with the node", async || !world::run("ip", &["route"]).contains("10.244.9.0/24")).await;
}
