//! Objects that other servers keep, for the collector: they are listed now and then, as if each list were a watch that begins anew.
//!
//! A list that fails says nothing; what is known of the resource stays until the next one.

use std::sync::Arc;
use std::time::Duration;

use pintle_api::client::{ListOptions, Served, Target};
use pintle_api::{Client, GroupVersionResource, Status};

use super::super::follow::Change;

/// A dependent whose owner goes is deleted at once; this long it may take until a new one, or an owner that went there, is known.
const EVERY: Duration = Duration::from_secs(30);
/// Objects listed at a time.
const PAGE: u64 = 500;

/// Runs until it is dropped.
pub async fn follow(client: Arc<dyn Client>, resource: GroupVersionResource, mut each: impl FnMut(Change<'_>) + Send) {
    let all = Target::collection(resource, None);
    loop {
        each(Change::Restart);
        match list(&*client, &all, |object| each(Change::Now(object))).await {
            Ok(()) => each(Change::Synced),
            Err(why) => tracing::debug!(path = all.path(), error = %why, "another server does not list its objects"),
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// All objects of a collection, a page at a time.
pub async fn list(client: &dyn Client, collection: &Target, mut each: impl FnMut(&Served) + Send) -> Result<(), Status> {
    let mut options = ListOptions { limit: PAGE, ..ListOptions::default() };
    loop {
        let listed = client.list(collection, &options).await?;
        listed.items.iter().for_each(&mut each);
        if listed.continue_token.is_empty() || listed.continue_token == options.continue_token {
            return Ok(());
        }
        options.continue_token = listed.continue_token;
    }
}

/// Whether an answer speaks of the object, and not of a path that nobody serves.
pub fn names(status: &Status, object: &str) -> bool {
    status.details.as_ref().is_some_and(|details| details.name == object)
}
