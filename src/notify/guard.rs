//! Owns which addresses may be called: a file of routes must not make Noctus a way into the network it runs in.
//! Never trusts a name: what it resolves to is checked, and the connection goes to the very addresses that were checked,
//! so a name that resolves to something else a moment later (DNS rebinding) changes nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Why an address is not called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Refused {
    #[error("{0} is no address that can be called")]
    BadUrl(String),
    #[error("{0} is not https; a receiver says allow_http: true if that is meant")]
    NotHttps(String),
    #[error(
        "{0} is not a public address; a receiver says allow_private: true if a private network or this machine is meant"
    )]
    Private(IpAddr),
}

/// What a receiver may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// Plain HTTP.
    pub allow_http: bool,
    /// This machine and private networks.
    pub allow_private: bool,
}

impl Guard {
    /// Reads and checks an address; a name in it is checked when it is resolved.
    pub fn url(&self, text: &str) -> Result<Url, Refused> {
        // The text may be a secret.
        let bad = || Refused::BadUrl("what is given".into());
        let url = Url::parse(text).map_err(|_| bad())?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(bad)?.to_string();
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            "http" => return Err(Refused::NotHttps(host)),
            _ => return Err(bad()),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad());
        }
        // As the parser has read it: 127.1, 0x7f000001 and 2130706433 are 127.0.0.1 by now.
        if let Ok(ip) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            self.ip(ip)?;
        }
        Ok(url)
    }

    /// Checks one address.
    pub fn ip(&self, ip: IpAddr) -> Result<(), Refused> {
        let ip = ip.to_canonical();
        let may = match self.allow_private {
            true => is_public(ip) || is_private(ip),
            false => is_public(ip),
        };
        if may { Ok(()) } else { Err(Refused::Private(ip)) }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = *self;
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            // One address that may not be called spoils the name: an attacker would have the others tried first.
            for address in &found {
                guard.ip(address.ip())?;
            }
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

/// Whether the internet routes to it, as the registries of special addresses say (RFC 6890).
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127, ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
            | (224.., ..)
    )
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    // Global unicast is 2000::/3. Of it: protocol assignments (Teredo among them), documentation, 6to4.
    (a & 0xe000) == 0x2000
        && !(a == 0x2001 && b < 0x0200)
        && !(a == 0x2001 && b == 0x0db8)
        && a != 0x2002
        && !(a == 0x3fff && b < 0x1000)
}

/// Where clouds tell a machine its secrets, within ranges that are private.
const METADATA: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)),
];

/// This machine and private networks; never link-local addresses, where 169.254.169.254 is, nor multicast.
fn is_private(ip: IpAddr) -> bool {
    if METADATA.contains(&ip) {
        return false;
    }
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_loopback() || ip.is_private() || (a == 100 && (64..=127).contains(&b))
        }
        IpAddr::V6(ip) => ip.is_loopback() || (ip.segments()[0] & 0xfe00) == 0xfc00,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: Guard = Guard { allow_http: false, allow_private: false };
    const PRIVATE: Guard = Guard { allow_http: true, allow_private: true };

    #[test]
    fn only_public_addresses_are_called_and_private_ones_if_asked_for() {
        let no = (false, false);
        let private = (false, true);
        let public = (true, true);
        for (ip, (strict, allowed)) in [
            ("1.1.1.1", public),
            ("172.15.255.255", public),
            ("172.32.0.1", public),
            ("100.63.0.1", public),
            ("223.255.255.255", public),
            ("2606:4700::1111", public),
            ("::ffff:1.1.1.1", public),
            ("127.0.0.1", private),
            ("127.8.8.8", private),
            ("10.0.0.1", private),
            ("172.16.0.1", private),
            ("192.168.1.1", private),
            ("100.64.0.1", private),
            ("::1", private),
            ("fd12::1", private),
            ("::ffff:127.0.0.1", private),
            ("::ffff:10.0.0.1", private),
            ("169.254.169.254", no),
            ("::ffff:169.254.169.254", no),
            ("100.100.100.200", no),
            ("fd00:ec2::254", no),
            ("fe80::1", no),
            ("0.0.0.0", no),
            ("::", no),
            ("224.0.0.1", no),
            ("255.255.255.255", no),
            ("240.0.0.1", no),
            ("ff02::1", no),
            ("192.0.0.1", no),
            ("192.0.2.1", no),
            ("198.18.0.1", no),
            ("198.51.100.1", no),
            ("203.0.113.1", no),
            ("2001:db8::1", no),
            ("2001::1", no),
            ("2002:7f00:1::", no),
            ("64:ff9b::7f00:1", no),
            ("3fff::1", no),
            ("fec0::1", no),
        ] {
            let ip: IpAddr = ip.parse().expect("an address");
            let got = (STRICT.ip(ip).is_ok(), PRIVATE.ip(ip).is_ok());
            assert_eq!(got, (strict, allowed), "{ip}");
        }
    }

    #[test]
    fn an_address_is_judged_as_it_will_be_called_however_it_is_spelled() {
        for (text, is_good) in [
            ("https://hooks.example.com/x", true),
            ("https://1.1.1.1/x", true),
            ("http://hooks.example.com/x", false),
            ("https://127.0.0.1/", false),
            ("https://127.1/", false),
            ("https://0x7f000001/", false),
            ("https://2130706433/", false),
            ("https://017700000001/", false),
            ("https://[::1]/", false),
            ("https://[::ffff:127.0.0.1]/", false),
            ("https://[::ffff:7f00:1]/", false),
            ("https://169.254.169.254/latest/meta-data", false),
            ("https://user@example.com/", false),
            ("https://user:word@example.com/", false),
            ("ftp://example.com/", false),
            ("file:///etc/passwd", false),
            ("unix:/var/run/docker.sock", false),
            ("hooks.example.com", false),
            ("", false),
        ] {
            assert_eq!(STRICT.url(text).is_ok(), is_good, "{text}");
        }
        assert!(PRIVATE.url("http://127.0.0.1:8080/x").is_ok());
        assert!(PRIVATE.url("http://169.254.169.254/").is_err());
    }

    #[tokio::test]
    async fn a_name_that_leads_into_our_own_network_is_not_called() {
        let name = || "localhost".parse().expect("a name");
        assert!(STRICT.resolve(name()).await.is_err());
        assert!(PRIVATE.resolve(name()).await.is_ok());
    }
}
