//! HTTPS in front of the handlers: connections, credentials, limits, decoding, the forms of answers. Only here do status
//! codes and headers exist.

pub mod answer;
pub mod audited;
mod backup;
mod begun;
pub mod body;
pub mod connect;
mod cork;
mod extension;
pub mod frames;
pub mod incoming;
pub mod links;
pub mod metrics;
pub mod negotiate;
pub mod nonresource;
pub mod packs;
pub mod path;
pub mod plugins;
pub mod protobuf;
pub mod proxy;
pub mod rest;
pub mod serve;
pub mod stream;
pub mod unread;
pub mod warnings;
pub mod websocket;
mod yaml;

pub use body::Body;

pub type Request = ::http::Request<hyper::body::Incoming>;
pub type Response = ::http::Response<Body>;
