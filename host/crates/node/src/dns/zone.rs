//! What the cluster's names mean: services and endpoints in, records out. Pure: no socket, no clock.
//!
//! Follows the DNS specification for Kubernetes 1.1 in the reading that clients are used to: A, AAAA, SRV, PTR, CNAME, NS and SOA, names of
//! pods by their address, no wildcards.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::model::{DnsService, DnsSlice, Kind};
use crate::network::{CLUSTER_CIDR, SERVICE_CIDR};

/// Seconds. Pods ask again soon enough to follow endpoints.
const TTL: u32 = 5;
const SPECIFICATION: &str = "1.1.0";

type Key = (String, String);

pub struct Zone {
    domain: String,
    origin: Name,
    /// Where this server is found, for NS.
    server: Ipv4Addr,
    services: HashMap<Key, Arc<DnsService>>,
    slices: HashMap<Key, BTreeMap<String, Arc<DnsSlice>>>,
    /// Services that an address belongs to: as theirs, and as an endpoint's.
    by_cluster_ip: HashMap<IpAddr, BTreeSet<Key>>,
    by_endpoint: HashMap<IpAddr, BTreeSet<Key>>,
}

#[derive(Debug, Default, PartialEq)]
pub struct Found {
    pub records: Vec<Record>,
    /// Addresses of names in `records`.
    pub additional: Vec<Record>,
    /// A name elsewhere that the records end in; whoever knows it may add its addresses.
    pub follow: Option<Name>,
}

#[derive(Debug, PartialEq)]
pub enum Answer {
    Found(Found),
    /// The name exists, but not with such a record.
    NoData,
    NoName,
    /// Not of this zone: ask elsewhere.
    Elsewhere,
}

/// What one address of a service looks like as a record.
struct Entry {
    address: IpAddr,
    port: Option<u16>,
    /// The label before the service's name; none for a cluster address.
    label: Option<String>,
}

/// A name below `svc`, from the right.
#[derive(Clone, Copy)]
struct Query<'a> {
    namespace: &'a str,
    service: &'a str,
    endpoint: Option<&'a str>,
    port: Option<(&'a str, &'a str)>,
}

impl Zone {
    pub fn new(domain: &str, server: Ipv4Addr) -> Self {
        let domain = domain.trim_matches('.').to_ascii_lowercase();
        let origin = Name::from_ascii(format!("{domain}.")).unwrap_or_default();
        Self { domain, origin, server, services: HashMap::new(), slices: HashMap::new(), by_cluster_ip: HashMap::new(), by_endpoint: HashMap::new() }
    }

    pub fn put_service(&mut self, service: DnsService) {
        self.remove_service(&service.namespace, &service.name);
        let key = (service.namespace.clone(), service.name.clone());
        for address in &service.addresses {
            self.by_cluster_ip.entry(*address).or_default().insert(key.clone());
        }
        self.services.insert(key, Arc::new(service));
    }

    pub fn remove_service(&mut self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        if let Some(old) = self.services.remove(&key) {
            old.addresses.iter().for_each(|address| forget(&mut self.by_cluster_ip, address, &key));
        }
    }

    pub fn put_slice(&mut self, name: &str, slice: DnsSlice) {
        let key = (slice.namespace.clone(), slice.service.clone());
        self.remove_slice(&key.0, &key.1, name);
        for endpoint in &slice.endpoints {
            self.by_endpoint.entry(endpoint.address).or_default().insert(key.clone());
        }
        self.slices.entry(key).or_default().insert(name.to_owned(), Arc::new(slice));
    }

    pub fn remove_slice(&mut self, namespace: &str, service: &str, name: &str) {
        let key = (namespace.to_owned(), service.to_owned());
        let Some(slices) = self.slices.get_mut(&key) else { return };
        let Some(old) = slices.remove(name) else { return };
        let left: BTreeSet<IpAddr> = slices.values().flat_map(|s| &s.endpoints).map(|e| e.address).collect();
        if slices.is_empty() {
            self.slices.remove(&key);
        }
        for endpoint in old.endpoints.iter().filter(|e| !left.contains(&e.address)) {
            forget(&mut self.by_endpoint, &endpoint.address, &key);
        }
    }

    pub fn answer(&self, name: &Name, kind: RecordType) -> Answer {
        let text = name.to_ascii().trim_end_matches('.').to_ascii_lowercase();
        if let Some(address) = reverse_address(&text) {
            return self.reverse(name, address, kind);
        }
        if text == self.domain {
            return self.apex(name, kind);
        }
        match text.strip_suffix(&self.domain).and_then(|rest| rest.strip_suffix('.')) {
            Some(rest) => self.inside(name, rest, kind),
            None => Answer::Elsewhere,
        }
    }

    /// For the authority section of answers without records.
    pub fn authority(&self) -> Record {
        let mail = format!("hostmaster.{}.", self.domain);
        // Time does not pass in here: one serial number serves, as nobody transfers this zone.
        let soa = SOA::new(self.server_name(), Name::from_ascii(mail).unwrap_or_default(), 1, 7200, 1800, 86_400, TTL);
        Record::from_rdata(self.origin.clone(), TTL, RData::SOA(soa))
    }

    fn apex(&self, name: &Name, kind: RecordType) -> Answer {
        match kind {
            RecordType::SOA => found(vec![self.authority()]),
            RecordType::NS => {
                let address = Record::from_rdata(self.server_name(), TTL, RData::A(A(self.server)));
                let records = vec![record(name, RData::NS(NS(self.server_name())))];
                Answer::Found(Found { records, additional: vec![address], follow: None })
            }
            _ => Answer::NoData,
        }
    }

    fn inside(&self, name: &Name, rest: &str, kind: RecordType) -> Answer {
        let labels: Vec<&str> = rest.split('.').rev().collect();
        match labels[..] {
            ["dns-version"] => match kind {
                RecordType::TXT => found(vec![record(name, RData::TXT(TXT::new(vec![SPECIFICATION.to_owned()])))]),
                _ => Answer::NoData,
            },
            ["dns", "ns"] => addresses(name, [IpAddr::V4(self.server)], kind),
            ["dns" | "svc" | "pod"] | ["svc" | "pod", _] => Answer::NoData,
            ["pod", _, pod] => match dashed_address(pod) {
                Some(address) => addresses(name, [address], kind),
                None => Answer::NoName,
            },
            ["svc", namespace, service] => self.service(name, Query { namespace, service, endpoint: None, port: None }, kind),
            ["svc", namespace, service, protocol] if protocol.starts_with('_') => {
                self.service(name, Query { namespace, service, endpoint: None, port: Some(("", protocol)) }, kind)
            }
            ["svc", namespace, service, endpoint] => self.service(name, Query { namespace, service, endpoint: Some(endpoint), port: None }, kind),
            ["svc", namespace, service, protocol, port] => {
                self.service(name, Query { namespace, service, endpoint: None, port: Some((port, protocol)) }, kind)
            }
            _ => Answer::NoName,
        }
    }

    fn service(&self, name: &Name, query: Query<'_>, kind: RecordType) -> Answer {
        let key = (query.namespace.to_owned(), query.service.to_owned());
        let Some(service) = self.services.get(&key) else { return Answer::NoName };
        if let Kind::External(target) = &service.kind {
            return if query.endpoint.is_some() || query.port.is_some() { Answer::NoName } else { self.external(name, target, kind) };
        }
        let entries = self.entries(&key, service, query);
        if entries.is_empty() {
            return Answer::NoName;
        }
        match kind {
            RecordType::SRV => self.server_records(name, &key, &entries),
            _ => addresses(name, entries.iter().map(|e| e.address), kind),
        }
    }

    /// Each combination of address and port that the query means.
    fn entries(&self, key: &Key, service: &DnsService, query: Query<'_>) -> Vec<Entry> {
        let wanted = |name: &str, protocol: &str| query.port.is_none_or(|(p, t)| is_label(p, name) && is_label(t, protocol));
        if service.kind == Kind::Cluster && query.endpoint.is_none() {
            let ports = service.ports.iter().filter(|p| wanted(&p.name, &p.protocol));
            return ports.flat_map(|p| service.addresses.iter().map(|a| Entry { address: *a, port: Some(p.number), label: None })).collect();
        }
        let mut entries = Vec::new();
        for slice in self.slices.get(key).into_iter().flat_map(BTreeMap::values) {
            let ready = slice.endpoints.iter().filter(|e| e.ready && query.endpoint.is_none_or(|wish| e.label == wish));
            for endpoint in ready {
                let entry = |port| Entry { address: endpoint.address, port, label: Some(endpoint.label.clone()) };
                if slice.ports.is_empty() && query.port.is_none() {
                    entries.push(entry(None));
                }
                entries.extend(slice.ports.iter().filter(|p| wanted(&p.name, &p.protocol)).map(|p| entry(Some(p.number))));
            }
        }
        entries
    }

    fn server_records(&self, name: &Name, key: &Key, entries: &[Entry]) -> Answer {
        let mut targets = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let with_port = || entries.iter().filter_map(|e| Some((e, e.port?)));
        let weight = 100 / u16::try_from(with_port().count().clamp(1, 100)).unwrap_or(100);
        let mut records = Vec::new();
        for (entry, port) in with_port() {
            let label = entry.label.as_ref().map_or_else(String::new, |l| format!("{l}."));
            let Ok(target) = Name::from_ascii(format!("{label}{}.{}.svc.{}.", key.1, key.0, self.domain)) else { continue };
            if seen.insert((target.clone(), port)) {
                records.push(record(name, RData::SRV(SRV::new(0, weight, port, target.clone()))));
            }
            targets.insert((target.clone(), entry.address), record(&target, address_data(entry.address)));
        }
        if records.is_empty() {
            return Answer::NoData;
        }
        Answer::Found(Found { records, additional: targets.into_values().collect(), follow: None })
    }

    /// An alias. What it leads to is told along where it lies in this zone.
    fn external(&self, name: &Name, target: &str, kind: RecordType) -> Answer {
        let Ok(target) = Name::from_ascii(format!("{}.", target.trim_end_matches('.'))) else { return Answer::NoData };
        let alias = record(name, RData::CNAME(CNAME(target.clone())));
        if !matches!(kind, RecordType::A | RecordType::AAAA | RecordType::CNAME | RecordType::ANY) {
            return Answer::NoData;
        }
        let mut result = Found { records: vec![alias], ..Found::default() };
        if matches!(kind, RecordType::A | RecordType::AAAA) {
            // One step only: two aliases of each other have no end.
            let aliased_again = matches!(self.kind_of(&target), Some(Kind::External(_)));
            match if aliased_again { Answer::NoData } else { self.answer(&target, kind) } {
                Answer::Found(found) => result.records.extend(found.records),
                Answer::Elsewhere => result.follow = Some(target),
                _ => {}
            }
        }
        Answer::Found(result)
    }

    fn kind_of(&self, name: &Name) -> Option<&Kind> {
        let text = name.to_ascii().to_ascii_lowercase();
        let rest = text.trim_end_matches('.').strip_suffix(&self.domain)?.strip_suffix(".svc.")?;
        let (service, namespace) = rest.split_once('.')?;
        self.services.get(&(namespace.to_owned(), service.to_owned())).map(|s| &s.kind)
    }

    fn reverse(&self, name: &Name, address: IpAddr, kind: RecordType) -> Answer {
        let mut names = Vec::new();
        for (namespace, service) in self.by_cluster_ip.get(&address).into_iter().flatten() {
            names.push(format!("{service}.{namespace}.svc.{}.", self.domain));
        }
        if names.is_empty() {
            for key in self.by_endpoint.get(&address).into_iter().flatten() {
                let endpoints = self.slices.get(key).into_iter().flat_map(BTreeMap::values).flat_map(|s| &s.endpoints);
                if let Some(endpoint) = endpoints.into_iter().find(|e| e.address == address) {
                    names.push(format!("{}.{}.{}.svc.{}.", endpoint.label, key.1, key.0, self.domain));
                }
            }
        }
        if names.is_empty() {
            let ours = matches!(address, IpAddr::V4(ip) if CLUSTER_CIDR.contains(&ip) || SERVICE_CIDR.contains(&ip));
            return if ours { Answer::NoName } else { Answer::Elsewhere };
        }
        if kind != RecordType::PTR && kind != RecordType::ANY {
            return Answer::NoData;
        }
        found(names.iter().filter_map(|n| Some(record(name, RData::PTR(PTR(Name::from_ascii(n).ok()?))))).collect())
    }

    fn server_name(&self) -> Name {
        Name::from_ascii(format!("ns.dns.{}.", self.domain)).unwrap_or_default()
    }
}

fn forget(index: &mut HashMap<IpAddr, BTreeSet<Key>>, address: &IpAddr, key: &Key) {
    if let Some(keys) = index.get_mut(address) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(address);
        }
    }
}

fn found(records: Vec<Record>) -> Answer {
    Answer::Found(Found { records, ..Found::default() })
}

fn record(name: &Name, data: RData) -> Record {
    Record::from_rdata(name.clone(), TTL, data)
}

fn address_data(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    }
}

/// Each address once, of the family that was asked for.
fn addresses(name: &Name, all: impl IntoIterator<Item = IpAddr>, kind: RecordType) -> Answer {
    let fits = |a: &IpAddr| match kind {
        RecordType::A => a.is_ipv4(),
        RecordType::AAAA => a.is_ipv6(),
        RecordType::ANY => true,
        _ => false,
    };
    let unique: BTreeSet<IpAddr> = all.into_iter().filter(fits).collect();
    if unique.is_empty() {
        return Answer::NoData;
    }
    found(unique.into_iter().map(|a| record(name, address_data(a))).collect())
}

/// `_http` means `http`; an empty wish means anything.
fn is_label(wish: &str, name: &str) -> bool {
    wish.is_empty() || wish.strip_prefix('_').unwrap_or(wish).eq_ignore_ascii_case(name)
}

/// `10-244-0-5`, or an IPv6 address with dashes for colons.
fn dashed_address(label: &str) -> Option<IpAddr> {
    label.replace('-', ".").parse::<Ipv4Addr>().map(IpAddr::V4).ok().or_else(|| label.replace('-', ":").parse().map(IpAddr::V6).ok())
}

/// The address in `5.0.244.10.in-addr.arpa` or its IPv6 likeness.
fn reverse_address(name: &str) -> Option<IpAddr> {
    if let Some(digits) = name.strip_suffix(".in-addr.arpa") {
        let parts: Vec<&str> = digits.split('.').rev().collect();
        return parts.join(".").parse::<Ipv4Addr>().map(IpAddr::V4).ok();
    }
    let digits: String = name.strip_suffix(".ip6.arpa")?.split('.').rev().collect();
    if digits.len() != 32 {
        return None;
    }
    u128::from_str_radix(&digits, 16).map(|bits| IpAddr::V6(bits.into())).ok()
}

#[cfg(test)]
mod tests;
