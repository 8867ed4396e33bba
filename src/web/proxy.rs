//! What a proxy in front of the daemon says of a request, where it is one that is trusted to.
//!
//! Anybody can send these headers. They count only on a connection from a listed address, and a name in two
//! headers counts as none, for one of them may be the client's own.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::store::AccountRole;

/// Proxies that are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// Where they connect from.
    pub trusted: Vec<IpNet>,
    /// The header that names who is signed in. `None`: they do not say.
    pub user_header: Option<HeaderName>,
    /// What whoever has no account yet may do. `None`: they are not let in.
    pub newcomers: Option<AccountRole>,
    /// What stands after the `@` where the header names a user without.
    pub domain: Option<String>,
}

/// Where a request comes from, as far as that can be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    /// Who sent it.
    pub(super) client: Option<IpAddr>,
    /// Whether it came to the proxy by https.
    pub(super) https: bool,
    /// Who is signed in at the proxy: an address in lower case.
    pub(super) user: Option<String>,
}

impl Proxies {
    /// Where a request on a connection from `peer` comes from.
    pub(super) fn origin(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Origin {
        let peer = peer.map(|peer| peer.to_canonical());
        let Some(proxy) = peer.filter(|peer| self.trusts(*peer)) else {
            return Origin { client: peer, https: false, user: None };
        };
        let https =
            last(headers, "x-forwarded-proto").is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
        Origin { client: Some(self.client(proxy, headers)), https, user: self.user(headers) }
    }

    /// Whether what connects from that address is believed.
    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|net| net.contains(&address))
    }

    /// Each proxy adds at the end whom it was asked by; what stands before the first that is not trusted is the
    /// client's own invention.
    fn client(&self, proxy: IpAddr, headers: &HeaderMap) -> IpAddr {
        let lines = headers.get_all("x-forwarded-for").into_iter();
        let named: Vec<&str> =
            lines.flat_map(|line| line.to_str().unwrap_or("?").split(',')).map(str::trim).collect();
        let mut client = proxy;
        for name in named.into_iter().rev() {
            let Some(address) = address(name) else { break };
            client = address;
            if !self.trusts(address) {
                break;
            }
        }
        client
    }

    fn user(&self, headers: &HeaderMap) -> Option<String> {
        let mut values = headers.get_all(self.user_header.as_ref()?).into_iter();
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        let name = value.to_str().ok()?.trim().to_lowercase();
        let mail = match &self.domain {
            Some(domain) if !name.contains('@') => format!("{name}@{domain}"),
            _ => name,
        };
        (mail.len() <= 254 && mail.parse::<lettre::Address>().is_ok()).then_some(mail)
    }
}

/// The last value of the last header of that name.
fn last<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let value = headers.get_all(name).into_iter().next_back()?.to_str().ok()?;
    value.rsplit(',').next().map(str::trim)
}

/// An address, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies() -> Proxies {
        Proxies {
            trusted: vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
            user_header: Some(HeaderName::from_static("x-remote-user")),
            newcomers: None,
            domain: Some("example.org".to_owned()),
        }
    }

    fn origin(peer: &str, headers: &[(&'static str, &'static str)]) -> Origin {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        proxies().origin(Some(peer.parse().unwrap()), &map)
    }

    #[test]
    fn only_listed_proxies_are_believed() {
        let said = [("x-remote-user", "ada"), ("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "https")];
        for peer in ["192.0.2.1", "11.0.0.1", "::2"] {
            let expected = Origin { client: Some(peer.parse().unwrap()), https: false, user: None };
            assert_eq!(origin(peer, &said), expected);
        }
        for peer in ["10.1.2.3", "::1", "::ffff:10.1.2.3"] {
            let user = Some("ada@example.org".to_owned());
            let expected = Origin { client: Some("1.2.3.4".parse().unwrap()), https: true, user };
            assert_eq!(origin(peer, &said), expected, "{peer}");
        }
    }

    #[test]
    fn the_client_is_the_last_that_no_trusted_proxy_vouches_for() {
        let check = |forwarded: &[&'static str], expected: &str| {
            let headers: Vec<_> = forwarded.iter().map(|value| ("x-forwarded-for", *value)).collect();
            let client = origin("10.0.0.1", &headers).client.unwrap();
            assert_eq!(client.to_string(), expected, "{forwarded:?}");
        };
        check(&[], "10.0.0.1");
        check(&["6.6.6.6, 1.2.3.4"], "1.2.3.4");
        check(&["6.6.6.6", "1.2.3.4, 10.0.0.9"], "1.2.3.4");
        check(&["1.2.3.4:5678"], "1.2.3.4");
        check(&["[2001:db8::1]:80"], "2001:db8::1");
        check(&["6.6.6.6, unknown"], "10.0.0.1");
    }

    #[test]
    fn a_user_is_named_once_and_by_an_address() {
        let check = |values: &[&'static str], expected: Option<&str>| {
            let headers: Vec<_> = values.iter().map(|value| ("x-remote-user", *value)).collect();
            assert_eq!(origin("10.0.0.1", &headers).user.as_deref(), expected, "{values:?}");
        };
        check(&[], None);
        check(&["Ada@Example.com"], Some("ada@example.com"));
        check(&["ada"], Some("ada@example.org"));
        check(&["root", "ada"], None);
        check(&[""], None);
        check(&["a b"], None);
    }
}
