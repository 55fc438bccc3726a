//! `ip`, `isIP`, `ip.isCanonical`, `cidr`, `isCIDR` and what can be asked of addresses and networks.
//!
//! Addresses with a zone and IPv4 addresses written as IPv6 are refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cel::common::types::{CelBool, CelInt, CelString};
use cel::{DeclarationError, Env, ExecutionError};

use super::{failed, opaque};
use crate::meter::charge_text;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip(IpAddr);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

opaque!(Ip, "net.IP");
opaque!(Cidr, "net.CIDR");

pub fn register(env: &mut Env) -> Result<(), DeclarationError> {
    cel::add_overload!(env, fn ip: (CelString) -> Result<Ip>)?;
    cel::add_overload!(env, fn is_ip: (CelString) -> Result<CelBool>, name = "isIP")?;
    cel::add_overload!(env, fn is_canonical: (CelString) -> Result<CelBool>, name = "ip.isCanonical")?;
    cel::add_overload!(env, fn ip_text: (Ip) -> CelString, name = "string", id = "ip_to_string")?;
    cel::add_member_overload!(env, fn family: (Ip) -> CelInt)?;
    cel::add_member_overload!(env, fn is_unspecified: (Ip) -> CelBool)?;
    cel::add_member_overload!(env, fn is_loopback: (Ip) -> CelBool)?;
    cel::add_member_overload!(env, fn is_link_local_multicast: (Ip) -> CelBool)?;
    cel::add_member_overload!(env, fn is_link_local_unicast: (Ip) -> CelBool)?;
    cel::add_member_overload!(env, fn is_global_unicast: (Ip) -> CelBool)?;
    cel::add_overload!(env, fn cidr: (CelString) -> Result<Cidr>)?;
    cel::add_overload!(env, fn is_cidr: (CelString) -> Result<CelBool>, name = "isCIDR")?;
    cel::add_overload!(env, fn cidr_text: (Cidr) -> CelString, name = "string", id = "cidr_to_string")?;
    cel::add_member_overload!(env, fn contains_ip: (Cidr, Ip) -> CelBool, name = "containsIP")?;
    cel::add_member_overload!(env, fn contains_ip_text: (Cidr, CelString) -> Result<CelBool>, name = "containsIP")?;
    cel::add_member_overload!(env, fn contains_cidr: (Cidr, Cidr) -> CelBool, name = "containsCIDR")?;
    cel::add_member_overload!(env, fn contains_cidr_text: (Cidr, CelString) -> Result<CelBool>, name = "containsCIDR")?;
    cel::add_member_overload!(env, fn cidr_ip: (Cidr) -> Ip, name = "ip")?;
    cel::add_member_overload!(env, fn prefix_length: (Cidr) -> CelInt)?;
    cel::add_member_overload!(env, fn masked: (Cidr) -> Cidr)
}

fn parse_ip(text: &str) -> Result<IpAddr, String> {
    if text.contains('%') {
        return Err(format!("IP address {text:?} with zone value is not allowed"));
    }
    let address: IpAddr = text
        .parse()
        .map_err(|_| format!("IP Address {text:?} parse error during conversion from string: ParseAddr({text:?}): unable to parse IP"))?;
    match address {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed")),
        address => Ok(address),
    }
}

fn parse_cidr(text: &str) -> Result<Cidr, String> {
    let bad = |why: &str| format!("network address parse error during conversion from string: netip.ParsePrefix({text:?}): {why}");
    let (address, bits) = text.rsplit_once('/').ok_or_else(|| bad("no '/'"))?;
    let plain = !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
    let address = parse_ip(address).map_err(|why| bad(&why))?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.parse::<u8>().ok().filter(|bits| plain && *bits <= most).ok_or_else(|| bad("prefix length out of range"))?;
    Ok(Cidr { address, bits })
}

impl Cidr {
    fn mask(self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0))),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0))),
        }
    }
    fn holds(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && self.mask(address) == self.mask(self.address)
    }
}

fn ip(text: &CelString<'_>) -> Result<Ip, ExecutionError> {
    charge_text(text.inner())?;
    parse_ip(text.inner()).map(Ip).map_err(|why| failed("ip", why))
}

fn is_ip(text: &CelString<'_>) -> Result<CelBool, ExecutionError> {
    charge_text(text.inner())?;
    Ok(parse_ip(text.inner()).is_ok().into())
}

fn is_canonical(text: &CelString<'_>) -> Result<CelBool, ExecutionError> {
    let Ip(address) = ip(text)?;
    Ok((address.to_string() == text.inner()).into())
}

fn ip_text(ip: &Ip) -> CelString<'static> {
    ip.0.to_string().into()
}

fn family(ip: &Ip) -> CelInt {
    if ip.0.is_ipv4() { 4 } else { 6 }.into()
}

fn is_unspecified(ip: &Ip) -> CelBool {
    ip.0.is_unspecified().into()
}

fn is_loopback(ip: &Ip) -> CelBool {
    ip.0.is_loopback().into()
}

fn is_link_local_multicast(ip: &Ip) -> CelBool {
    match ip.0 {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    }
    .into()
}

fn is_link_local_unicast(ip: &Ip) -> CelBool {
    link_local(ip.0).into()
}

fn link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn is_global_unicast(ip: &Ip) -> CelBool {
    let address = ip.0;
    let broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    (!broadcast && !address.is_unspecified() && !address.is_loopback() && !address.is_multicast() && !link_local(address)).into()
}

fn cidr(text: &CelString<'_>) -> Result<Cidr, ExecutionError> {
    charge_text(text.inner())?;
    parse_cidr(text.inner()).map_err(|why| failed("cidr", why))
}

fn is_cidr(text: &CelString<'_>) -> Result<CelBool, ExecutionError> {
    charge_text(text.inner())?;
    Ok(parse_cidr(text.inner()).is_ok().into())
}

fn cidr_text(cidr: &Cidr) -> CelString<'static> {
    format!("{}/{}", cidr.address, cidr.bits).into()
}

fn contains_ip(cidr: &Cidr, ip: &Ip) -> CelBool {
    cidr.holds(ip.0).into()
}

fn contains_ip_text(cidr: &Cidr, text: &CelString<'_>) -> Result<CelBool, ExecutionError> {
    Ok(contains_ip(cidr, &ip(text)?))
}

fn contains_cidr(outer: &Cidr, inner: &Cidr) -> CelBool {
    (outer.bits <= inner.bits && outer.holds(inner.address)).into()
}

fn contains_cidr_text(outer: &Cidr, text: &CelString<'_>) -> Result<CelBool, ExecutionError> {
    Ok(contains_cidr(outer, &cidr(text)?))
}

fn cidr_ip(cidr: &Cidr) -> Ip {
    Ip(cidr.address)
}

fn prefix_length(cidr: &Cidr) -> CelInt {
    i64::from(cidr.bits).into()
}

fn masked(cidr: &Cidr) -> Cidr {
    Cidr { address: cidr.mask(cidr.address), ..*cidr }
}
