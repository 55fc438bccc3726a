//! Servers that components come from: a real OCI registry (CNCF Distribution, built by the machine's Go) and a web server with TLS.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

/// A registry process with its own empty storage; ends with the value.
pub struct TestRegistry {
    process: Child,
    pub address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl TestRegistry {
    /// `user`: name and password that it asks for; anonymous when there is none.
    pub fn start(user: Option<(&str, &str)>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp: {{addr: '127.0.0.1:0'}}\n",
            folder.path().join("data").display()
        );
        if let Some((name, password)) = user {
            let passwords = folder.path().join("htpasswd");
            let hash = bcrypt::hash(password, 4).expect("a hash");
            std::fs::write(&passwords, format!("{name}:{hash}\n")).expect("writable");
            config.push_str(&format!("auth:\n  htpasswd: {{realm: test, path: {}}}\n", passwords.display()));
        }
        let file = folder.path().join("config.yml");
        std::fs::write(&file, config).expect("writable");
        let mut process = Command::new(binary())
            .arg("serve")
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("a registry");
        let mut lines = BufReader::new(process.stderr.take().expect("piped")).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, rest) = line.split_once("listening on ")?;
            rest.split(|c: char| c == '"' || c.is_whitespace()).next()?.parse().ok()
        });
        // Read on, or the registry would wait for us.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, address: address.expect("the registry says where it listens"), _folder: folder }
    }

    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }
}

impl Drop for TestRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let binary = std::path::absolute(target).expect("a path").join("test-registry");
        let built = Command::new("go").current_dir(root.join("tests/registry")).args(["build", "-o"]).arg(&binary).arg(".").output();
        let built = built.expect("the registry of these tests is built by Go, which is not installed");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        binary
    })
}

/// Answers GETs over TLS with what a test put there.
#[derive(Clone)]
pub struct Web {
    files: Arc<Mutex<HashMap<String, Page>>>,
    pub address: SocketAddr,
    /// The server's certificate as `caBundle` has it.
    pub ca_bundle: String,
}

#[derive(Clone)]
pub enum Page {
    File(Vec<u8>),
    /// A body without end and without a length.
    Endless,
    Moved(String),
}

impl Web {
    pub async fn start() -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
        let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).expect("a certificate");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let web = Self { files: Arc::default(), address, ca_bundle: STANDARD.encode(made.cert.pem()) };
        let (acceptor, files) = (TlsAcceptor::from(Arc::new(config)), web.files.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, files) = (acceptor.clone(), files.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let _ = answer(stream, &files).await;
                });
            }
        });
        web
    }

    pub fn put(&self, path: &str, page: Page) {
        self.files.lock().expect("not poisoned").insert(path.to_owned(), page);
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }
}

async fn answer(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, files: &Mutex<HashMap<String, Page>>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let page = files.lock().expect("not poisoned").get(path).cloned();
    match page {
        Some(Page::File(bytes)) => {
            stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len()).as_bytes()).await?;
            stream.write_all(&bytes).await?;
        }
        Some(Page::Endless) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").await?;
            loop {
                stream.write_all(&[0; 65536]).await?;
            }
        }
        Some(Page::Moved(to)) => {
            let head = format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
        }
        None => stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await?,
    }
    stream.shutdown().await
}
