//! Owns the address of an incoming webhook, which contains its secret. Nothing here prints the secret; only the transport
//! reads it.
//!
//! A portal that was renamed answers with a redirect. The secret is sent to another host only if that host belongs to the
//! same owner of the domain: a portal of the cloud under the same domain of the cloud (`old.bitrix24.ru`,
//! `new.bitrix24.ru`), or this machine, on the same port. Everything else is refused.

use compact_str::CompactString;
use std::fmt;

/// An incoming webhook: `https://HOST/rest/USER/CODE/`, on a server of its own also `https://HOST/FOLDER/rest/USER/CODE/`.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    secure: bool,
    /// Host and port as written.
    authority: CompactString,
    /// The folders of the portal on its server, each with a slash before it.
    folder: CompactString,
    /// The number of the employee whose rights the webhook has.
    user: CompactString,
    code: CompactString,
}

/// Why a text is no usable webhook; never contains the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWebhook {
    /// It has another form.
    #[error("not the address of an incoming webhook: expected https://HOST/rest/USER/CODE/")]
    Form,
    /// It would send the secret in clear text.
    #[error("http is accepted only for this machine, because the address contains the secret: expected https://")]
    NotSecure,
}

impl Webhook {
    /// Reads the address as the portal shows it, with or without a method or a slash at the end.
    pub fn parse(text: &str) -> Result<Self, InvalidWebhook> {
        let (scheme, rest) = text.trim().split_once("://").ok_or(InvalidWebhook::Form)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(InvalidWebhook::Form),
        };
        let parts: Vec<&str> = rest.split('/').collect();
        let at = parts.iter().skip(1).position(|part| *part == "rest").ok_or(InvalidWebhook::Form)?;
        let (authority, folders) = (parts[0], &parts[1..=at]);
        let (Some(user), Some(code)) = (parts.get(at + 2), parts.get(at + 3)) else {
            return Err(InvalidWebhook::Form);
        };
        let plain = |text: &str, also: &str| {
            !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphanumeric() || also.contains(letter))
        };
        let number = !user.is_empty() && user.bytes().all(|byte| byte.is_ascii_digit());
        let is_folder = |part: &&str| plain(part, ".-_~") && !part.starts_with('.');
        if !plain(authority, ".-:[]") || !number || !plain(code, "-_") || !folders.iter().all(is_folder) {
            return Err(InvalidWebhook::Form);
        }
        let authority = authority.to_ascii_lowercase();
        if !secure && !is_loopback(host_of(&authority)) {
            return Err(InvalidWebhook::NotSecure);
        }
        let folder = folders.iter().flat_map(|folder| ["/", *folder]).collect();
        Ok(Self { secure, authority: authority.into(), folder, user: (*user).into(), code: (*code).into() })
    }

    /// The host of the portal, with the port if it has one.
    pub fn host(&self) -> &str {
        &self.authority
    }

    /// The number of the employee whose rights the webhook has.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Whether `bytes` contain the secret.
    pub fn is_in(&self, text: &str) -> bool {
        text.contains(self.code.as_str())
    }

    /// The text without the secret.
    pub fn censored(&self, text: &str) -> String {
        text.replace(self.code.as_str(), "***")
    }

    /// The address of a method; contains the secret.
    pub(super) fn address(&self, method: &str) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}{}/rest/{}/{}/{method}", self.authority, self.folder, self.user, self.code)
    }

    /// The same webhook at another host.
    pub(super) fn at(&self, authority: &str) -> Self {
        Self { authority: authority.into(), ..self.clone() }
    }

    /// The host that a redirect leads to, if the webhook may be used there. A redirect within the host is none.
    pub(super) fn renamed(&self, location: &str) -> Option<CompactString> {
        let (scheme, rest) = location.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?.to_ascii_lowercase();
        let same_scheme = scheme.eq_ignore_ascii_case(if self.secure { "https" } else { "http" });
        let plain = authority.chars().all(|letter| letter.is_ascii_alphanumeric() || ".-:[]".contains(letter));
        if !same_scheme || !plain || authority.is_empty() || authority == self.authority {
            return None;
        }
        let (old, new) = (host_of(&self.authority), host_of(&authority));
        let same_port = self.authority[old.len()..] == authority[new.len()..];
        let of_cloud = same_owner(old, new);
        ((of_cloud || is_loopback(old) && is_loopback(new)) && same_port).then(|| authority.into())
    }
}

/// The host without its port.
fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.ends_with(':') => host,
        _ => authority,
    }
}

/// Domains under which every name is a portal of the cloud, or under which no name is public.
const SHARED: &[&str] = &["test", "localhost", "local", "internal", "example"];

fn same_owner(old: &str, new: &str) -> bool {
    let (Some((_, old)), Some((_, new))) = (old.split_once('.'), new.split_once('.')) else { return false };
    let cloud = old.starts_with("bitrix24.") && old.split('.').count() <= 3;
    old == new && (cloud || SHARED.contains(&old))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost") || host == "[::1]" || {
        host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Without the secret.
impl fmt::Display for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}{}/rest/{}/***/", self.authority, self.folder, self.user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_portal_shows_them() {
        let webhook = Webhook::parse(" https://Romashka.bitrix24.ru/rest/17/s3cretcode/ ").expect("valid");
        assert_eq!(webhook.address("batch"), "https://romashka.bitrix24.ru/rest/17/s3cretcode/batch");
        assert_eq!(webhook.to_string(), "https://romashka.bitrix24.ru/rest/17/***/");
        assert!(!format!("{webhook:?}").contains("s3cret"));
        assert_eq!(Webhook::parse("https://a.b/rest/1/code/profile.json"), Webhook::parse("https://a.b/rest/1/code"));
        assert!(Webhook::parse("http://127.0.0.1:8080/rest/1/code/").is_ok());
        assert_eq!(Webhook::parse("http://crm.example.com/rest/1/code/"), Err(InvalidWebhook::NotSecure));
        let box_address = "https://crm.example.com:8443/intranet/b24/rest/1/code/";
        let webhook = Webhook::parse(box_address).expect("a portal in a folder");
        assert_eq!(webhook.address("batch"), format!("{box_address}batch"));
        let folders = ["https://a.b/../rest/1/code", "https://a.b//rest/1/code", "https://a.b/x?y/rest/1/code"];
        for text in folders {
            assert_eq!(Webhook::parse(text), Err(InvalidWebhook::Form), "{text}");
        }
        let wrong =
            ["", "romashka.bitrix24.ru", "https://a.b/rest/x/code", "https://a.b/rest/1/", "ftp://a.b/rest/1/c"];
        for text in wrong.into_iter().chain(["https://u:p@a.b/rest/1/code", "https://a.b/rest/1/c%20ode"]) {
            assert_eq!(Webhook::parse(text), Err(InvalidWebhook::Form), "{text}");
        }
    }

    #[test]
    fn the_secret_follows_a_portal_to_its_new_name_and_nowhere_else() {
        let renamed = |from: &str, to: &str| Webhook::parse(from).expect(from).renamed(to);
        let cloud = "https://old.bitrix24.ru/rest/1/code/";
        assert_eq!(renamed(cloud, "https://new.bitrix24.ru/rest/1/code/batch").as_deref(), Some("new.bitrix24.ru"));
        let refused = [
            "https://new.bitrix24.com/rest/1/code/batch",
            "http://new.bitrix24.ru/rest/1/code/batch",
            "https://evil.example.com/rest/1/code/batch",
            "https://old.bitrix24.ru.evil.com/rest",
            "https://evil@new.bitrix24.ru/rest",
            "https://new.bitrix24.ru:8443/rest",
            "/login",
        ];
        for to in refused {
            assert_eq!(renamed(cloud, to), None, "{to}");
        }
        assert_eq!(renamed("https://crm.example.com/rest/1/code/", "https://new.example.com/rest/1/code/"), None);
        let local = "http://127.0.0.1:9000/rest/1/code/";
        assert_eq!(renamed(local, "http://localhost:9000/x").as_deref(), Some("localhost:9000"));
        assert_eq!(renamed(local, "http://127.0.0.1:9001/x"), None);
    }
}
