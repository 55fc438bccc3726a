//! An API server in memory, one node, and pods that are bare network namespaces wired to the node's bridge.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use pintle_api::client::{DeleteOptions, Patch, Target, WriteOptions};
use pintle_api::{Client, GroupVersionResource, Object};
use pintle_apiserver::auth::User;
use pintle_apiserver::{Config, Server, Storage};
use pintle_node::NodeConfig;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);
/// Of one attempt to talk.
const TALK: Duration = Duration::from_millis(700);
pub const NODE: &str = "n1";

pub struct World {
    server: Server,
    admin: Arc<dyn Client>,
}

pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < end, "not in time: {what}\n{}", run("iptables-save", &["-t", "nat"]));
        tokio::time::sleep(POLL).await;
    }
}

pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn ip(arguments: &str) {
    run("ip", &arguments.split(' ').collect::<Vec<_>>());
}

impl World {
    pub async fn start(folder: &Path) -> Self {
        ip("link set lo up");
        ip("link add pintle0 type bridge");
        ip("addr add 10.89.0.1/24 dev pintle0");
        ip("link set pintle0 up");
        let mut config = Config::new(folder.join("server"), "10.89.0.1:6443".parse().unwrap());
        config.storage = Storage::Memory;
        let server = Server::start(config).await.unwrap();
        let admin = Arc::new(server.local_client(User::loopback()));
        let world = Self { server, admin };
        world.add_node(NODE, "10.89.0.1", None).await;
        world
    }

    /// Acts as the node, so that its rights are tested too.
    pub fn node_config(&self, folder: &Path) -> NodeConfig {
        let groups = vec!["system:nodes".to_owned(), "system:authenticated".to_owned()];
        let user = User { name: format!("system:node:{NODE}"), groups, ..User::default() };
        let client = Arc::new(self.server.local_client(user));
        NodeConfig::new(NODE, &folder.join("node"), client, [10, 89, 0, 1].into(), String::new())
    }

    pub async fn add_node(&self, name: &str, address: &str, pod_cidr: Option<&str>) {
        let mut node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
        if let Some(cidr) = pod_cidr {
            node["spec"] = json!({"podCIDR": cidr, "podCIDRs": [cidr]});
        }
        self.create("", "nodes", node).await;
        let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": address}]}});
        let target = Target::object(resource("", "nodes"), None, name).subresource("status");
        self.admin.patch(&target, Patch::Merge(status), &WriteOptions::default()).await.unwrap();
    }

    pub async fn delete_node(&self, name: &str) {
        self.admin.delete(&Target::object(resource("", "nodes"), None, name), &DeleteOptions::default()).await.unwrap();
    }

    pub async fn create(&self, group: &'static str, plural: &'static str, object: Object) {
        let namespace = object["metadata"]["namespace"].as_str().map(str::to_owned);
        let target = Target::collection(resource(group, plural), namespace.as_deref());
        self.admin.create(&target, object, &WriteOptions::default()).await.unwrap();
    }

    pub async fn patch(&self, group: &'static str, plural: &'static str, name: &str, patch: Value) {
        let target = Target::object(resource(group, plural), Some("default"), name);
        self.admin.patch(&target, Patch::Merge(patch), &WriteOptions::default()).await.unwrap();
    }

    pub async fn put_slice(&self, service: &str, port_name: &str, protocol: &str, port: u16, addresses: &[&str]) {
        let endpoints: Vec<Value> = addresses.iter().map(|a| json!({"addresses": [a], "conditions": {"ready": true}, "nodeName": NODE})).collect();
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": format!("{service}-1"), "namespace": "default", "labels": {"kubernetes.io/service-name": service}},
            "endpoints": endpoints, "ports": [{"name": port_name, "port": port, "protocol": protocol}],
        });
        let target = Target::object(resource("discovery.k8s.io", "endpointslices"), Some("default"), &format!("{service}-1"));
        let options = WriteOptions { field_manager: "test".into(), force: true, ..WriteOptions::default() };
        self.admin.patch(&target, Patch::Apply(slice), &options).await.unwrap();
    }
}

fn resource(group: &'static str, plural: &'static str) -> GroupVersionResource {
    GroupVersionResource::constant(group, "v1", plural)
}

/// A network namespace with one address.
pub struct Pod {
    name: String,
}

impl Pod {
    /// As the CNI plugins would wire it.
    pub fn on_bridge(name: &str, address: &str) -> Self {
        let pod = Self::wired(name, &format!("{address}/24"), "cni0");
        ip(&format!("link set v{name} type bridge_slave hairpin on"));
        pod.run(&["route", "add", "default", "via", "10.244.0.1"]);
        pod
    }

    /// A machine beside the node.
    pub fn on_switch(name: &str, address: &str) -> Self {
        Self::wired(name, &format!("{address}/24"), "pintle0")
    }

    fn wired(name: &str, address: &str, bridge: &str) -> Self {
        ip(&format!("netns add {name}"));
        ip(&format!("link add v{name} type veth peer name eth0 netns {name}"));
        ip(&format!("link set v{name} master {bridge} up"));
        let pod = Self { name: name.to_owned() };
        pod.run(&["link", "set", "lo", "up"]);
        pod.run(&["addr", "add", address, "dev", "eth0"]);
        pod.run(&["link", "set", "eth0", "up"]);
        pod
    }

    pub fn run(&self, arguments: &[&str]) {
        run("ip", &[&["-n", &self.name], arguments].concat());
    }

    /// Runs on a thread of its own in the namespace; a socket stays where it was made.
    pub fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let file = std::fs::File::open(format!("/run/netns/{}", self.name)).unwrap();
        std::thread::spawn(move || {
            rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(rustix::thread::LinkNameSpaceType::Network)).unwrap();
            work()
        })
        .join()
        .unwrap()
    }

    /// Answers each connection with its own name and the client's address.
    pub fn serve_tcp(&self, port: u16) {
        let listener = self.inside(move || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
        let name = self.name.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let peer = stream.peer_addr().map(|a| a.ip().to_string()).unwrap_or_default();
                let _ = (&stream).write_all(format!("{name} {peer}").as_bytes());
            }
        });
    }

    pub fn serve_udp(&self, port: u16) {
        let socket = self.inside(move || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
        let name = self.name.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(name.as_bytes(), peer);
            }
        });
    }

    pub fn udp_socket(&self) -> UdpSocket {
        self.inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap())
    }

    pub fn ask_tcp(&self, place: &'static str) -> Option<String> {
        self.inside(move || talk_tcp(place)).ok()
    }

    /// A records, over UDP and then over TCP, which must agree.
    pub fn look_up(&self, server: &'static str, name: &str) -> Vec<Ipv4Addr> {
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        let question = question.to_vec().unwrap();
        self.inside(move || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            socket.set_read_timeout(Some(TALK)).unwrap();
            let mut buffer = [0; 1500];
            socket.send_to(&question, server).unwrap();
            let Ok(length) = socket.recv(&mut buffer) else { return Vec::new() };
            let by_udp = addresses(&buffer[..length]);
            let mut stream = TcpStream::connect(server).unwrap();
            stream.write_all(&[&(question.len() as u16).to_be_bytes(), &question[..]].concat()).unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(addresses(&answer), by_udp);
            by_udp
        })
    }
}

fn addresses(answer: &[u8]) -> Vec<Ipv4Addr> {
    let message = Message::from_vec(answer).unwrap();
    message.answers.iter().filter_map(|r| if let RData::A(a) = &r.data { Some(a.0) } else { None }).collect()
}

pub fn talk_tcp(place: &str) -> std::io::Result<String> {
    let place: SocketAddr = place.parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&place, TALK)?;
    stream.set_read_timeout(Some(TALK))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

pub fn talk_udp(socket: &UdpSocket, place: &str) -> Option<String> {
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    socket.send_to(b"?", place).ok()?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// The name in an answer.
pub fn who(answer: String) -> String {
    answer.split(' ').next().unwrap_or_default().to_owned()
}
