//! One question in, one answer out: the cluster's names from the zone, all others from the machine's resolvers.

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, Record};
use hickory_server::net::runtime::Time;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;

use super::forward::Forwarder;
use super::zone::{Answer, Found, Zone};

/// The largest UDP answer that we make, in bytes; what fits an Ethernet frame.
const UDP_BYTES: u16 = 1232;

pub struct Handler {
    zone: Arc<RwLock<Zone>>,
    forwarder: Forwarder,
}

/// An answer before it is put into a message.
#[derive(Default)]
struct Reply {
    code: ResponseCode,
    authoritative: bool,
    truncated: bool,
    answers: Vec<Record>,
    authority: Vec<Record>,
    additional: Vec<Record>,
}

impl Handler {
    pub fn new(zone: Arc<RwLock<Zone>>, forwarder: Forwarder) -> Self {
        Self { zone, forwarder }
    }

    async fn reply(&self, request: &Request) -> Reply {
        if request.metadata.message_type != MessageType::Query || request.metadata.op_code != OpCode::Query {
            return Reply { code: ResponseCode::NotImp, ..Reply::default() };
        }
        let Ok(info) = request.request_info() else { return Reply { code: ResponseCode::FormErr, ..Reply::default() } };
        if info.query.query_class() != DNSClass::IN {
            return Reply { code: ResponseCode::Refused, ..Reply::default() };
        }
        let name = info.query.original().name();
        let kind = info.query.query_type();
        let (answer, authority) = {
            let zone = self.zone.read().unwrap_or_else(PoisonError::into_inner);
            (zone.answer(name, kind), zone.authority())
        };
        match answer {
            Answer::Found(Found { mut records, additional, follow }) => {
                if let Some(target) = follow
                    && let Some(found) = self.forwarder.look_up(&target, kind).await
                {
                    records.extend(found.answers);
                }
                Reply { authoritative: true, answers: records, additional, ..Reply::default() }
            }
            Answer::NoData => Reply { authoritative: true, authority: vec![authority], ..Reply::default() },
            Answer::NoName => Reply { code: ResponseCode::NXDomain, authoritative: true, authority: vec![authority], ..Reply::default() },
            Answer::Elsewhere => match self.forwarder.ask(request.as_slice(), request.protocol() != Protocol::Udp).await {
                Some(message) => Reply::passed_on(message),
                None => Reply { code: ResponseCode::ServFail, ..Reply::default() },
            },
        }
    }
}

impl Reply {
    fn passed_on(message: Message) -> Self {
        Self {
            code: message.metadata.response_code,
            authoritative: false,
            truncated: message.metadata.truncation,
            answers: message.answers,
            authority: message.authorities,
            additional: message.additionals,
        }
    }
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut respond: R) -> ResponseInfo {
        let reply = self.reply(request).await;
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = reply.code;
        metadata.authoritative = reply.authoritative;
        metadata.truncation = reply.truncated;
        metadata.recursion_available = true;
        let edns = request.edns.as_ref().map(|asked| {
            let mut edns = Edns::new();
            edns.set_max_payload(asked.max_payload().clamp(512, UDP_BYTES)).set_version(0);
            edns
        });
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if let Some(edns) = &edns {
            builder.edns(edns);
        }
        let response = builder.build(metadata, &reply.answers, &reply.authority, std::iter::empty(), &reply.additional);
        match respond.send_response(response).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%error, "a DNS answer could not be sent");
                failure(request)
            }
        }
    }
}

/// What the server's log says of an answer that was not sent.
fn failure(request: &Request) -> ResponseInfo {
    let mut metadata = Metadata::response_from_request(&request.metadata);
    metadata.response_code = ResponseCode::ServFail;
    hickory_proto::op::Header { metadata, counts: hickory_proto::op::HeaderCounts::default() }.into()
}
