//! Images for containers: present or pulled, with the pod's pull secrets, one pull of an image at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_cri::v1::{AuthConfig, Image, PodSandboxConfig};
use k8s_openapi::api::core::v1::{Container, Pod};
use pintle_api::object::{Object, ObjectExt};
use serde_json::Value;

use super::cri::Cri;
use super::follow::{Key, Objects, SECRETS};
use super::recorder::Recorder;
use super::state::StartFailure;

pub struct Images {
    pub cri: Cri,
    pub objects: Arc<Objects>,
    pub recorder: Recorder,
    pulling: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Images {
    pub fn new(cri: Cri, objects: Arc<Objects>, recorder: Recorder) -> Self {
        Self { cri, objects, recorder, pulling: Mutex::default() }
    }

    /// The image of a container, on this node when this returns.
    pub async fn ensure(&self, pod: &Pod, container: &Container, sandbox: &PodSandboxConfig) -> Result<Image, StartFailure> {
        let asked = container.image.as_deref().unwrap_or("");
        let name = with_default_tag(asked);
        if !is_valid(&name) {
            let message = format!("Failed to apply default image tag {asked:?}: couldn't parse image name {asked:?}: invalid reference format");
            self.tell(pod, container, true, "InspectFailed", message.as_str());
            return Err(failure("InvalidImageName", message));
        }
        let policy = container.image_pull_policy.as_deref().unwrap_or(if name.ends_with(":latest") { "Always" } else { "IfNotPresent" });
        let present = self.look(&name).await?;
        match (policy, present) {
            ("Never", None) => {
                let message = format!("Container image {asked:?} is not present with pull policy of Never");
                self.tell(pod, container, true, "ErrImageNeverPull", message.as_str());
                Err(failure("ErrImageNeverPull", message))
            }
            ("IfNotPresent" | "Never", Some(image)) => {
                let message = format!("Container image {asked:?} already present on machine and can be accessed by the pod");
                self.tell(pod, container, false, "Pulled", message);
                Ok(image)
            }
            _ => self.pull(pod, container, &name, sandbox).await,
        }
    }

    async fn pull(&self, pod: &Pod, container: &Container, name: &str, sandbox: &PodSandboxConfig) -> Result<Image, StartFailure> {
        let asked = container.image.as_deref().unwrap_or("");
        self.tell(pod, container, false, "Pulling", format!("Pulling image {asked:?}"));
        let begun = Instant::now();
        let turn = self.turn(name);
        let _turn = turn.lock().await;
        let pulling = Instant::now();
        let mut last = None;
        for auth in self.credentials(pod, name).await {
            match self.cri.pull(name, auth, sandbox.clone()).await {
                Ok(reference) => {
                    let image = match self.look(&reference).await? {
                        Some(image) => image,
                        None => self.look(name).await?.ok_or_else(|| failure("ErrImagePull", format!("image {name} vanished after its pull")))?,
                    };
                    let (took, all) = (pulling.elapsed(), begun.elapsed());
                    let message = format!(
                        "Successfully pulled image {asked:?} in {}ms ({}ms including waiting). Image size: {} bytes.",
                        took.as_millis(),
                        all.as_millis(),
                        image.size
                    );
                    self.tell(pod, container, false, "Pulled", message);
                    return Ok(image);
                }
                Err(error) => last = Some(error),
            }
        }
        let error = last.map_or_else(|| "no credentials".to_owned(), |e| e.to_string());
        self.tell(pod, container, true, "Failed", format!("Failed to pull image {asked:?}: {error}"));
        self.tell(pod, container, true, "Failed", "Error: ErrImagePull");
        Err(failure("ErrImagePull", error))
    }

    /// A volume made of an image has no container to tell of.
    fn tell(&self, pod: &Pod, container: &Container, warning: bool, reason: &str, message: impl Into<String>) {
        let name = Some(container.name.as_str()).filter(|n| !n.is_empty());
        self.recorder.pod(pod, name, warning, reason, message);
    }

    async fn look(&self, name: &str) -> Result<Option<Image>, StartFailure> {
        let failed = |e| failure("ImageInspectError", format!("Failed to inspect image {name:?}: {e}"));
        self.cri.image(name).await.map_err(failed)
    }

    fn turn(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut pulling = self.pulling.lock().unwrap_or_else(PoisonError::into_inner);
        pulling.retain(|_, turn| Arc::strong_count(turn) > 1);
        pulling.entry(name.to_owned()).or_default().clone()
    }

    /// What to try: each matching secret, then nothing.
    async fn credentials(&self, pod: &Pod, image: &str) -> Vec<Option<AuthConfig>> {
        let mut out = Vec::new();
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
        for reference in pod.spec.iter().flat_map(|s| s.image_pull_secrets.iter().flatten()) {
            match self.objects.get(&Key::new(SECRETS, namespace, &reference.name)).await {
                Ok(Some(secret)) => out.extend(auths(&secret, image).into_iter().map(Some)),
                _ => {
                    let message =
                        format!("Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.", reference.name);
                    self.recorder.pod(pod, None, true, "FailedToRetrieveImagePullSecret", message);
                }
            }
        }
        out.push(None);
        out
    }
}

/// `busybox` is `docker.io/library/busybox:latest`.
pub fn with_default_tag(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    let mut full = if name.contains('@') || last.contains(':') { name.to_owned() } else { format!("{name}:latest") };
    let registry = full.split('/').next().filter(|_| full.contains('/')).unwrap_or("");
    let has_registry = registry.contains(['.', ':']) || registry == "localhost";
    if !has_registry {
        full = if full.contains('/') { format!("docker.io/{full}") } else { format!("docker.io/library/{full}") };
    }
    full
}

fn is_valid(name: &str) -> bool {
    let repository = name.split('@').next().unwrap_or("");
    let path = repository.split_once('/').map_or(repository, |(_, path)| path);
    let path = path.split(':').next().unwrap_or("");
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/".contains(c);
    !path.is_empty() && path.chars().all(good) && !path.contains("//") && !repository.contains("://")
}

/// The entries of a docker configuration that fit an image's registry.
fn auths(secret: &Object, image: &str) -> Vec<AuthConfig> {
    let data = |key: &str| secret.at(&["data", key]).and_then(Value::as_str).and_then(|t| STANDARD.decode(t).ok());
    let parsed = |bytes: Vec<u8>| serde_json::from_slice::<Value>(&bytes).ok();
    let entries = match (data(".dockerconfigjson").and_then(parsed), data(".dockercfg").and_then(parsed)) {
        (Some(config), _) => config["auths"].clone(),
        (None, Some(config)) => config,
        (None, None) => return Vec::new(),
    };
    let fits = |server: &str| {
        let bare = server.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
        let bare = bare.trim_end_matches("/v1").trim_end_matches("/v2").trim_start_matches("index.");
        image == bare || image.starts_with(&format!("{bare}/"))
    };
    let mut found: Vec<(String, AuthConfig)> = Vec::new();
    for (server, entry) in entries.as_object().into_iter().flatten().filter(|(server, _)| fits(server)) {
        let text = |key: &str| entry[key].as_str().unwrap_or("").to_owned();
        let mut auth = AuthConfig { username: text("username"), password: text("password"), ..AuthConfig::default() };
        if let Some((user, password)) =
            STANDARD.decode(text("auth")).ok().and_then(|b| String::from_utf8(b).ok()).as_deref().and_then(|t| t.split_once(':'))
        {
            (auth.username, auth.password) = (user.to_owned(), password.to_owned());
        }
        auth.identity_token = text("identitytoken");
        found.push((server.clone(), auth));
    }
    // The longest server path is the closest fit.
    found.sort_by_key(|(server, _)| std::cmp::Reverse(server.len()));
    found.into_iter().map(|(_, auth)| auth).collect()
}

fn failure(reason: &'static str, message: String) -> StartFailure {
    StartFailure { reason, message, exit: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let cases = [
            ("busybox", "docker.io/library/busybox:latest"),
            ("a/b:1", "docker.io/a/b:1"),
            ("localhost:5000/x", "localhost:5000/x:latest"),
            ("pintle.dev/hello:v1", "pintle.dev/hello:v1"),
        ];
        for (asked, full) in cases {
            assert_eq!(with_default_tag(asked), full);
        }
        assert!(!is_valid(&with_default_tag("Bad Image")));
    }
}
