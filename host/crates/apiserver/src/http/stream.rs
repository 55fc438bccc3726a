//! The body of a watch: its lines, in the form that was asked for, over HTTP or a WebSocket. Called by `rest`.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use http::header::HeaderValue;
use pintle_api::Status;

use super::body::Body;
use super::frames::{Frames, SharedFrames};
use super::metrics::{Gauge, Metrics};
use super::negotiate::{Form, Media, Shape};
use super::websocket::{Chunks, Wish};
use super::{Response, answer, protobuf};
use crate::handlers::watch::Watch;
use crate::resources::Resource;

/// Turns the lines of a watch into the form that was asked for.
pub struct Lines {
    shape: Shape,
    frames: Option<Frames>,
}

impl Lines {
    pub fn of(shared: &Arc<SharedFrames>, resource: &Resource, form: Form) -> Result<Self, Status> {
        let frames = match form.media {
            Media::Protobuf => Some(Frames::of(shared.clone(), resource, form.shape)?),
            Media::Json | Media::Yaml => None,
        };
        Ok(Self { shape: form.shape, frames })
    }

    pub fn in_form(&mut self, resource: &Resource, chunk: Bytes, mut first: bool) -> Bytes {
        if self.shape == Shape::Whole && self.frames.is_none() {
            return chunk;
        }
        let mut out = Vec::with_capacity(chunk.len());
        for line in chunk.split_inclusive(|b| *b == b'\n') {
            let shaped = answer::watch_line(resource, &chunk.slice_ref(line), self.shape, std::mem::take(&mut first));
            let written = shaped.and_then(|line| match &mut self.frames {
                Some(frames) => frames.frame(&line, &mut out),
                None => {
                    out.extend_from_slice(&line);
                    Ok(())
                }
            });
            if let Err(why) = written {
                tracing::error!(%why, "a watch event cannot be shown");
            }
        }
        out.into()
    }
}

pub fn sent(chunks: Chunks, media: Media, socket: Option<Wish>) -> Response {
    match (socket, media) {
        (Some(socket), Media::Protobuf) => socket.frames(chunks),
        (Some(socket), _) => socket.lines(chunks),
        (None, Media::Protobuf) => answer::bytes(200, protobuf::STREAM_TYPE, Body::Stream(chunks)),
        (None, _) => answer::bytes(200, HeaderValue::from_static("application/json"), Body::Stream(chunks)),
    }
}

pub fn chunks(watch: Watch, lines: Lines, metrics: Arc<Metrics>) -> Chunks {
    struct State {
        watch: Watch,
        lines: Lines,
        metrics: Arc<Metrics>,
        first: bool,
    }
    let state = State { watch, lines, metrics, first: true };
    futures::stream::unfold(state, move |mut state| async move {
        let metrics = state.metrics.clone();
        let _gauge = Gauge::raise(&metrics.watches);
        let chunk = state.watch.next_chunk().await?;
        let State { watch, lines, first, .. } = &mut state;
        let answer = lines.in_form(&watch.resource, chunk, std::mem::take(first));
        Some((Ok(answer), state))
    })
    .boxed()
}
