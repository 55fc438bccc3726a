//! Kubeconfig files, in YAML or JSON: which server, as whom, in which namespace. Also the files that a pod finds.
//!
//! It reads; it does not write. Credential plugins (`exec`) and proxies are refused, not ignored.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::{Config, ConfigError, Credentials, Impersonate};

type Result<T> = std::result::Result<T, ConfigError>;

const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const DEFAULT_NAMESPACE: &str = "default";

/// What the caller says over the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    pub context: Option<String>,
    pub cluster: Option<String>,
    pub user: Option<String>,
    pub namespace: Option<String>,
}

/// The files of `$KUBECONFIG`, else `~/.kube/config`, merged: the first that names a thing wins.
pub fn load_default(overrides: &Overrides) -> Result<Config> {
    Kubeconfig::read_default()?.config(overrides)
}

/// As a pod reaches the server: address from the environment, token and CA from the mounted service account.
pub fn in_cluster() -> Result<Config> {
    let variable = |name: &'static str| std::env::var(name).map_err(|error| ConfigError::invalid(name, error));
    let (host, port) = (variable("KUBERNETES_SERVICE_HOST")?, variable("KUBERNETES_SERVICE_PORT")?);
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let directory = Path::new(SERVICE_ACCOUNT);
    let namespace = read(&directory.join("namespace"))?;
    Ok(Config {
        server: format!("https://{host}:{port}"),
        ca_pem: Some(read(&directory.join("ca.crt"))?),
        credentials: Credentials { token_file: Some(directory.join("token")), ..Credentials::default() },
        namespace: String::from_utf8_lossy(&namespace).trim().to_owned(),
        ..Config::default()
    })
}

/// A kubeconfig as written. Paths in it are absolute once it is read from a file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Kubeconfig {
    #[serde(rename = "apiVersion")]
    pub api_version: String,
    pub kind: String,
    #[serde(deserialize_with = "or_default")]
    pub clusters: Vec<NamedCluster>,
    #[serde(deserialize_with = "or_default")]
    pub users: Vec<NamedUser>,
    #[serde(deserialize_with = "or_default")]
    pub contexts: Vec<NamedContext>,
    #[serde(deserialize_with = "or_default")]
    pub current_context: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NamedCluster {
    pub name: String,
    pub cluster: Cluster,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NamedUser {
    pub name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub user: User,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NamedContext {
    pub name: String,
    pub context: Context,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Cluster {
    pub server: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_authority: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_authority_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_server_name: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub insecure_skip_tls_verify: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_url: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct User {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    #[serde(rename = "tokenFile", skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
    pub impersonate: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub as_groups: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_uid: Option<String>,
    #[serde(skip_serializing)]
    pub exec: Option<serde_json::Value>,
    #[serde(skip_serializing)]
    pub auth_provider: Option<serde_json::Value>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Context {
    pub cluster: String,
    pub user: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

impl Kubeconfig {
    /// One file, by its `current-context`.
    pub fn load(path: impl AsRef<Path>) -> Result<Config> {
        Self::read(path)?.config(&Overrides::default())
    }

    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let mut kubeconfig = Self::parse(&read(path)?).map_err(|error| ConfigError::Parse { path: path.display().to_string(), error })?;
        kubeconfig.make_paths_absolute(path.parent().unwrap_or(Path::new(".")));
        Ok(kubeconfig)
    }

    /// A missing file of the list is skipped, as an empty one would be.
    pub fn read_default() -> Result<Self> {
        let paths: Vec<PathBuf> = match std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty()) {
            Some(list) => std::env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()).collect(),
            None => std::env::home_dir().into_iter().map(|home| home.join(".kube/config")).collect(),
        };
        let mut merged = Self::default();
        for path in paths.iter().filter(|path| path.exists()) {
            merged.merge(Self::read(path)?);
        }
        Ok(merged)
    }

    /// JSON is YAML, but JSON's parser is the stricter and the faster.
    pub fn parse(text: &[u8]) -> std::result::Result<Self, String> {
        let is_json = text.trim_ascii_start().first() == Some(&b'{');
        if is_json {
            return serde_json::from_slice(text).map_err(|error| error.to_string());
        }
        if text.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        serde_saphyr::from_slice(text).map_err(|error| error.to_string())
    }

    pub fn merge(&mut self, other: Self) {
        if self.current_context.is_empty() {
            self.current_context = other.current_context;
        }
        for cluster in other.clusters {
            if !self.clusters.iter().any(|known| known.name == cluster.name) {
                self.clusters.push(cluster);
            }
        }
        for user in other.users {
            if !self.users.iter().any(|known| known.name == user.name) {
                self.users.push(user);
            }
        }
        for context in other.contexts {
            if !self.contexts.iter().any(|known| known.name == context.name) {
                self.contexts.push(context);
            }
        }
    }

    /// Resolves a context, and reads the files that it names.
    pub fn config(&self, overrides: &Overrides) -> Result<Config> {
        let context = self.context(overrides)?;
        let cluster_name = overrides.cluster.as_ref().unwrap_or(&context.cluster);
        let user_name = overrides.user.as_ref().unwrap_or(&context.user);
        let cluster = self.clusters.iter().find(|c| c.name == *cluster_name).map(|c| &c.cluster);
        let cluster = cluster.ok_or_else(|| ConfigError::Missing { what: "cluster", name: cluster_name.clone() })?;
        let user = match self.users.iter().find(|u| u.name == *user_name) {
            Some(named) => named.user.clone(),
            None if user_name.is_empty() => User::default(),
            None => return Err(ConfigError::Missing { what: "user", name: user_name.clone() }),
        };
        if cluster.proxy_url.as_ref().is_some_and(|url| !url.is_empty()) {
            return Err(ConfigError::Unsupported("a proxy-url in the kubeconfig"));
        }
        let namespace = overrides.namespace.clone().or_else(|| context.namespace.clone()).filter(|n| !n.is_empty());
        Ok(Config {
            server: cluster.server.clone(),
            ca_pem: data_or_file(&cluster.certificate_authority_data, &cluster.certificate_authority, "certificate-authority-data")?,
            server_name: cluster.tls_server_name.clone().filter(|name| !name.is_empty()),
            insecure: cluster.insecure_skip_tls_verify,
            impersonate: user.impersonation(),
            credentials: user.credentials()?,
            namespace: namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
            user_agent: String::new(),
        })
    }

    fn context(&self, overrides: &Overrides) -> Result<Context> {
        let name = overrides.context.as_ref().unwrap_or(&self.current_context);
        match self.contexts.iter().find(|context| context.name == *name) {
            Some(named) => Ok(named.context.clone()),
            None if name.is_empty() && overrides.cluster.is_some() => Ok(Context::default()),
            None => Err(ConfigError::Missing { what: "context", name: name.clone() }),
        }
    }

    fn make_paths_absolute(&mut self, directory: &Path) {
        let clusters = self.clusters.iter_mut().map(|named| &mut named.cluster.certificate_authority);
        let users = self.users.iter_mut().flat_map(|named| {
            let user = &mut named.user;
            [&mut user.client_certificate, &mut user.client_key, &mut user.token_file]
        });
        for path in clusters.chain(users).flatten() {
            *path = directory.join(&*path);
        }
    }
}

impl User {
    fn credentials(self) -> Result<Credentials> {
        if self.exec.is_some() {
            return Err(ConfigError::Unsupported("an exec credential plugin in the kubeconfig"));
        }
        if self.auth_provider.is_some() {
            return Err(ConfigError::Unsupported("an auth-provider in the kubeconfig"));
        }
        let certificate = data_or_file(&self.client_certificate_data, &self.client_certificate, "client-certificate-data")?;
        let key = data_or_file(&self.client_key_data, &self.client_key, "client-key-data")?;
        let certificate = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(ConfigError::invalid("client certificate", "a certificate and its key come together")),
        };
        Ok(Credentials {
            certificate,
            token: self.token.filter(|token| !token.is_empty()),
            token_file: self.token_file.filter(|path| !path.as_os_str().is_empty()),
            basic: self.username.filter(|name| !name.is_empty()).map(|name| (name, self.password.unwrap_or_default())),
        })
    }

    fn impersonation(&self) -> Option<Impersonate> {
        let user = self.impersonate.clone().filter(|user| !user.is_empty())?;
        Some(Impersonate { user, groups: self.as_groups.clone(), uid: self.as_uid.clone().unwrap_or_default() })
    }
}

/// The embedded data wins over the file.
fn data_or_file(data: &Option<String>, file: &Option<PathBuf>, what: &'static str) -> Result<Option<Vec<u8>>> {
    if let Some(data) = data.as_ref().filter(|data| !data.is_empty()) {
        let compact: String = data.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        return STANDARD.decode(compact).map(Some).map_err(|error| ConfigError::invalid(what, error));
    }
    file.as_deref().filter(|path| !path.as_os_str().is_empty()).map(read).transpose()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| ConfigError::Read { path: path.display().to_string(), error })
}

/// `users: null` is what some tools write for none.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> std::result::Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    const YAML: &str = r#"
apiVersion: v1
kind: Config
current-context: dev
preferences: {}
clusters:
- name: local
  cluster:
    server: https://127.0.0.1:6443
    certificate-authority-data: Q0E=
- name: far
  cluster: {server: "https://far:443/prefix", insecure-skip-tls-verify: true, tls-server-name: near}
users:
- name: admin
  user: {client-certificate-data: Q0VSVA==, client-key-data: S0VZ}
- name: bot
  user: {tokenFile: secrets/token, as: jane, as-groups: [a, b]}
- name: cloud
  user: {exec: {command: get-token}}
contexts:
- name: dev
  context: {cluster: local, user: admin, namespace: work}
- name: far
  context: {cluster: far, user: bot}
- name: cloud
  context: {cluster: far, user: cloud}
"#;

    fn check(text: &str, context: Option<&str>, expected: Expect) {
        let mut kubeconfig = Kubeconfig::parse(text.as_bytes()).unwrap();
        kubeconfig.make_paths_absolute(Path::new("/home/me"));
        let overrides = Overrides { context: context.map(str::to_owned), ..Overrides::default() };
        let shown = match kubeconfig.config(&overrides) {
            Ok(config) => {
                let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
                format!(
                    "{} ca={:?} name={:?} insecure={} ns={}\ncertificate={:?} token_file={:?} as={:?}",
                    config.server,
                    config.ca_pem.as_ref().map(text),
                    config.server_name,
                    config.insecure,
                    config.namespace,
                    config.credentials.certificate.as_ref().map(|(c, k)| (text(c), text(k))),
                    config.credentials.token_file,
                    config.impersonate.map(|i| (i.user, i.groups)),
                )
            }
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn a_context_names_server_identity_and_namespace() {
        check(
            YAML,
            None,
            expect![[r#"
                https://127.0.0.1:6443 ca=Some("CA") name=None insecure=false ns=work
                certificate=Some(("CERT", "KEY")) token_file=None as=None"#]],
        );
        check(
            YAML,
            Some("far"),
            expect![[r#"
                https://far:443/prefix ca=None name=Some("near") insecure=true ns=default
                certificate=None token_file=Some("/home/me/secrets/token") as=Some(("jane", ["a", "b"]))"#]],
        );
        check(YAML, Some("cloud"), expect!["an exec credential plugin in the kubeconfig is not supported"]);
        check(YAML, Some("none"), expect![[r#"context "none" is not in the kubeconfig"#]]);
    }

    #[test]
    fn json_and_nulls_are_read() {
        let json = r#"{"current-context":"c","clusters":[{"name":"l","cluster":{"server":"https://h"}}],"users":null,
            "contexts":[{"name":"c","context":{"cluster":"l","user":""}}]}"#;
        check(
            json,
            None,
            expect![[r#"
                https://h ca=None name=None insecure=false ns=default
                certificate=None token_file=None as=None"#]],
        );
        check("", None, expect![[r#"context "" is not in the kubeconfig"#]]);
    }

    #[test]
    fn the_first_file_wins() {
        let mut first = Kubeconfig::parse(b"{\"clusters\":[{\"name\":\"a\",\"cluster\":{\"server\":\"one\"}}]}").unwrap();
        first.merge(Kubeconfig::parse(YAML.replace("name: local", "name: a").as_bytes()).unwrap());
        assert_eq!((first.current_context.as_str(), first.clusters.len()), ("dev", 2));
        assert_eq!(first.clusters[0].cluster.server, "one");
    }
}
