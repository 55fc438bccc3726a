//! The container runtime, as the kubelet speaks to it: CRI v1 over containerd's socket.
//!
//! A thin typed layer: one function a call, each with its own deadline, errors as text with the gRPC code kept.
//! No policy here.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::*;
use tonic::Code;
use tonic::transport::Channel;

/// Longest wait for a call that only reads or removes, in seconds.
const CALL_SECONDS: u64 = 30;
/// Longest wait for a sandbox with its network, or a container's creation, in seconds.
const START_SECONDS: u64 = 240;
/// Longest wait for an image, in seconds.
const PULL_SECONDS: u64 = 1800;
/// Added to a container's grace period before the stop call itself is given up, in seconds.
const STOP_EXTRA_SECONDS: u64 = 60;
/// Largest answer of the runtime, in bytes (lists of every container, output of an exec probe).
const MAX_ANSWER_BYTES: usize = 32 << 20;

pub const LABEL_POD: &str = "io.kubernetes.pod.name";
pub const LABEL_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub const LABEL_UID: &str = "io.kubernetes.pod.uid";
pub const LABEL_CONTAINER: &str = "io.kubernetes.container.name";
pub const ANNOTATION_RESTARTS: &str = "io.kubernetes.container.restartCount";
pub const ANNOTATION_HASH: &str = "io.kubernetes.container.hash";
pub const ANNOTATION_MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
pub const ANNOTATION_MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
pub const ANNOTATION_MESSAGE_FILE: &str = "pintle.dev/termination-message-file";
pub const ANNOTATION_GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";

#[derive(Debug, thiserror::Error)]
pub enum CriError {
    #[error("{message}")]
    Call { code: Code, message: String },
    #[error("the container runtime did not answer within {0} s")]
    Timeout(u64),
    #[error("cannot connect to the container runtime: {0}")]
    Connect(#[from] tonic::transport::Error),
    #[error("the container runtime gave an empty answer to {0}")]
    Empty(&'static str),
}

pub type CriResult<T> = std::result::Result<T, CriError>;

impl CriError {
    pub fn is_not_found(&self) -> bool {
        matches!(self, CriError::Call { code: Code::NotFound, .. })
    }
}

impl From<tonic::Status> for CriError {
    fn from(status: tonic::Status) -> Self {
        let message = format!("rpc error: code = {:?} desc = {}", status.code(), status.message());
        CriError::Call { code: status.code(), message }
    }
}

#[derive(Clone)]
pub struct Cri {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    channel: Channel,
}

pub struct ExecOutput {
    pub exit_code: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Cri {
    pub async fn connect(socket: &Path) -> CriResult<Self> {
        let channel = containerd_client::connect(socket).await?;
        Ok(Self {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES),
            images: ImageServiceClient::new(channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES),
            channel,
        })
    }
    /// For services of containerd that CRI has no word for.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub async fn version(&self) -> CriResult<VersionResponse> {
        let request = VersionRequest { version: "v1".into() };
        within(CALL_SECONDS, self.runtime.clone().version(request)).await
    }
    /// Conditions such as `RuntimeReady` and `NetworkReady`.
    pub async fn conditions(&self) -> CriResult<Vec<RuntimeCondition>> {
        let answer = within(CALL_SECONDS, self.runtime.clone().status(StatusRequest { verbose: false })).await?;
        Ok(answer.status.map(|s| s.conditions).unwrap_or_default())
    }

    pub async fn run_sandbox(&self, config: PodSandboxConfig, handler: &str) -> CriResult<String> {
        let request = RunPodSandboxRequest { config: Some(config), runtime_handler: handler.to_owned() };
        Ok(within(START_SECONDS, self.runtime.clone().run_pod_sandbox(request)).await?.pod_sandbox_id)
    }
    pub async fn stop_sandbox(&self, id: &str) -> CriResult<()> {
        let request = StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        gone_is_done(within(START_SECONDS, self.runtime.clone().stop_pod_sandbox(request)).await.map(drop))
    }
    pub async fn remove_sandbox(&self, id: &str) -> CriResult<()> {
        let request = RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        gone_is_done(within(START_SECONDS, self.runtime.clone().remove_pod_sandbox(request)).await.map(drop))
    }
    pub async fn sandbox_status(&self, id: &str) -> CriResult<PodSandboxStatus> {
        let request = PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
        let answer = within(CALL_SECONDS, self.runtime.clone().pod_sandbox_status(request)).await?;
        answer.status.ok_or(CriError::Empty("PodSandboxStatus"))
    }
    /// All sandboxes, or those of one pod.
    pub async fn sandboxes(&self, pod_uid: Option<&str>) -> CriResult<Vec<PodSandbox>> {
        let filter = pod_uid.map(|uid| PodSandboxFilter { label_selector: uid_selector(uid), ..PodSandboxFilter::default() });
        Ok(within(CALL_SECONDS, self.runtime.clone().list_pod_sandbox(ListPodSandboxRequest { filter })).await?.items)
    }

    pub async fn create_container(&self, sandbox: &str, config: ContainerConfig, sandbox_config: PodSandboxConfig) -> CriResult<String> {
        let request = CreateContainerRequest { pod_sandbox_id: sandbox.to_owned(), config: Some(config), sandbox_config: Some(sandbox_config) };
        Ok(within(START_SECONDS, self.runtime.clone().create_container(request)).await?.container_id)
    }
    pub async fn start_container(&self, id: &str) -> CriResult<()> {
        let request = StartContainerRequest { container_id: id.to_owned() };
        within(START_SECONDS, self.runtime.clone().start_container(request)).await.map(drop)
    }
    pub async fn stop_container(&self, id: &str, grace_seconds: i64) -> CriResult<()> {
        let request = StopContainerRequest { container_id: id.to_owned(), timeout: grace_seconds };
        let limit = u64::try_from(grace_seconds).unwrap_or(0) + STOP_EXTRA_SECONDS;
        gone_is_done(within(limit, self.runtime.clone().stop_container(request)).await.map(drop))
    }
    pub async fn remove_container(&self, id: &str) -> CriResult<()> {
        let request = RemoveContainerRequest { container_id: id.to_owned() };
        gone_is_done(within(CALL_SECONDS, self.runtime.clone().remove_container(request)).await.map(drop))
    }
    pub async fn containers(&self, pod_uid: Option<&str>) -> CriResult<Vec<Container>> {
        let filter = pod_uid.map(|uid| ContainerFilter { label_selector: uid_selector(uid), ..ContainerFilter::default() });
        Ok(within(CALL_SECONDS, self.runtime.clone().list_containers(ListContainersRequest { filter })).await?.containers)
    }
    pub async fn container_status(&self, id: &str) -> CriResult<ContainerStatus> {
        let request = ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        let answer = within(CALL_SECONDS, self.runtime.clone().container_status(request)).await?;
        answer.status.ok_or(CriError::Empty("ContainerStatus"))
    }
    pub async fn update_resources(&self, id: &str, linux: LinuxContainerResources) -> CriResult<()> {
        let request = UpdateContainerResourcesRequest { container_id: id.to_owned(), linux: Some(linux), ..Default::default() };
        within(CALL_SECONDS, self.runtime.clone().update_container_resources(request)).await.map(drop)
    }
    pub async fn exec_sync(&self, id: &str, command: Vec<String>, timeout: Duration) -> CriResult<ExecOutput> {
        let seconds = i64::try_from(timeout.as_secs().max(1)).unwrap_or(i64::MAX);
        let request = ExecSyncRequest { container_id: id.to_owned(), cmd: command, timeout: seconds };
        let answer = within(timeout.as_secs() + CALL_SECONDS, self.runtime.clone().exec_sync(request)).await?;
        Ok(ExecOutput { exit_code: answer.exit_code, stdout: answer.stdout, stderr: answer.stderr })
    }
    pub async fn exec_url(&self, request: ExecRequest) -> CriResult<String> {
        Ok(within(CALL_SECONDS, self.runtime.clone().exec(request)).await?.url)
    }
    pub async fn attach_url(&self, request: AttachRequest) -> CriResult<String> {
        Ok(within(CALL_SECONDS, self.runtime.clone().attach(request)).await?.url)
    }
    pub async fn port_forward_url(&self, sandbox: &str, ports: Vec<i32>) -> CriResult<String> {
        let request = PortForwardRequest { pod_sandbox_id: sandbox.to_owned(), port: ports };
        Ok(within(CALL_SECONDS, self.runtime.clone().port_forward(request)).await?.url)
    }
    pub async fn reopen_log(&self, id: &str) -> CriResult<()> {
        let request = ReopenContainerLogRequest { container_id: id.to_owned() };
        within(CALL_SECONDS, self.runtime.clone().reopen_container_log(request)).await.map(drop)
    }
    pub async fn container_stats(&self) -> CriResult<Vec<ContainerStats>> {
        Ok(within(CALL_SECONDS, self.runtime.clone().list_container_stats(ListContainerStatsRequest { filter: None })).await?.stats)
    }

    pub async fn images(&self) -> CriResult<Vec<Image>> {
        Ok(within(CALL_SECONDS, self.images.clone().list_images(ListImagesRequest { filter: None })).await?.images)
    }
    /// `None`: not on this node.
    pub async fn image(&self, name: &str) -> CriResult<Option<Image>> {
        let spec = ImageSpec { image: name.to_owned(), ..ImageSpec::default() };
        let request = ImageStatusRequest { image: Some(spec), verbose: false };
        Ok(within(CALL_SECONDS, self.images.clone().image_status(request)).await?.image)
    }
    pub async fn pull(&self, name: &str, auth: Option<AuthConfig>, sandbox: PodSandboxConfig) -> CriResult<String> {
        let spec = ImageSpec { image: name.to_owned(), ..ImageSpec::default() };
        let request = PullImageRequest { image: Some(spec), auth, sandbox_config: Some(sandbox) };
        Ok(within(PULL_SECONDS, self.images.clone().pull_image(request)).await?.image_ref)
    }
    /// Bytes and inodes of the image store.
    pub async fn image_fs(&self) -> CriResult<Vec<FilesystemUsage>> {
        Ok(within(CALL_SECONDS, self.images.clone().image_fs_info(ImageFsInfoRequest {})).await?.image_filesystems)
    }
}

async fn within<T>(seconds: u64, call: impl Future<Output = std::result::Result<tonic::Response<T>, tonic::Status>>) -> CriResult<T> {
    match tokio::time::timeout(Duration::from_secs(seconds), call).await {
        Ok(answer) => Ok(answer?.into_inner()),
        Err(_) => Err(CriError::Timeout(seconds)),
    }
}

fn gone_is_done(result: CriResult<()>) -> CriResult<()> {
    match result {
        Err(e) if e.is_not_found() => Ok(()),
        other => other,
    }
}

fn uid_selector(uid: &str) -> HashMap<String, String> {
    HashMap::from([(LABEL_UID.to_owned(), uid.to_owned())])
}
