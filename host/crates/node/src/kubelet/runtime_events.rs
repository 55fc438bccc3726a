//! containerd's own event stream: the moment a container or sandbox process ends, without polling.
//!
//! CRI 1.6 has no events; the comparison in `pods.rs` catches what a broken stream lost.

use std::time::Duration;

use containerd_client::events::TaskExit;
use containerd_client::services::v1::SubscribeRequest;
use containerd_client::services::v1::events_client::EventsClient;
use prost::Message;
use tokio::sync::mpsc;
use tonic::transport::Channel;

/// Pause before a broken stream is opened again, in milliseconds.
const REOPEN_MS: u64 = 500;

/// Sends the id of every container and sandbox whose main process ended.
pub async fn run(channel: Channel, ended: mpsc::Sender<String>) {
    while !ended.is_closed() {
        if let Err(error) = follow(channel.clone(), &ended).await {
            tracing::debug!(%error, "containerd event stream ended");
        }
        tokio::time::sleep(Duration::from_millis(REOPEN_MS)).await;
    }
}

async fn follow(channel: Channel, ended: &mpsc::Sender<String>) -> Result<(), tonic::Status> {
    let request = SubscribeRequest { filters: vec!["topic==\"/tasks/exit\"".to_owned()] };
    let mut stream = EventsClient::new(channel).subscribe(request).await?.into_inner();
    while let Some(envelope) = stream.message().await? {
        let Some(any) = envelope.event else { continue };
        let Ok(exit) = TaskExit::decode(any.value.as_slice()) else { continue };
        // An exec's end carries the exec's own id.
        if exit.id == exit.container_id && ended.send(exit.container_id).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
