//! Owns who asks: the user of a token, of a session or of this machine, and what each may see and do.
//!
//! Rights are data that every source of an answer takes ([`super::source`]); a handler cannot forget to ask.

use super::hosts::Host;
use super::session;
use crate::config::{Api, ApiUser, Role};
use crate::domain::figures::row::{Row, Subject};
use crate::domain::id::{DepartmentId, TenantId, UNKNOWN};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, FORWARDED, HOST, ORIGIN, VIA};
use axum::http::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The name of the user of `api.token`, or of this machine if there are no users.
const UNNAMED: &str = "head of sales";

/// Somebody who was admitted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Viewer {
    /// The author of what the viewer does.
    pub(super) name: String,
    tenants: Option<BTreeSet<TenantId>>,
    departments: Option<BTreeSet<DepartmentId>>,
    roles: BTreeSet<Role>,
}

impl Viewer {
    /// Who sees everything except numbers and addresses of customers.
    fn of_everything() -> Self {
        Self { name: UNNAMED.into(), tenants: None, departments: None, roles: [Role::Admin].into() }
    }

    fn of_user(user: &ApiUser) -> Self {
        Self {
            name: user.name.clone(),
            tenants: user.tenants.clone(),
            departments: user.departments.clone(),
            roles: user.roles.clone(),
        }
    }

    /// Whether the viewer sees a tenant.
    pub(super) fn sees_tenant(&self, tenant: &TenantId) -> bool {
        self.tenants.as_ref().is_none_or(|tenants| tenants.contains(tenant))
    }

    /// Whether the viewer sees what belongs to a department; `None` is the department `unknown`.
    pub(super) fn sees_department(&self, department: Option<&DepartmentId>) -> bool {
        let Some(departments) = &self.departments else { return true };
        match department {
            Some(id) => departments.contains(id),
            None => departments.iter().any(|id| id.as_str() == UNKNOWN),
        }
    }

    /// Whether the viewer sees all departments.
    pub(super) fn sees_all_departments(&self) -> bool {
        self.departments.is_none()
    }

    /// Whether the viewer sees a row. The figures of the company are those of all departments.
    pub(super) fn sees_row(&self, row: &Row) -> bool {
        match &row.subject {
            Subject::Tenant => self.sees_all_departments(),
            Subject::Department(id) => self.sees_department(Some(id)),
            Subject::Manager(_) => self.sees_department(row.department.as_ref()),
        }
    }

    /// Whether the viewer may score calls and messages, and take alerts.
    pub(super) fn may_write(&self) -> bool {
        self.roles.contains(&Role::Reviewer) || self.roles.contains(&Role::Admin)
    }

    /// Whether the viewer sees the numbers and addresses of customers.
    pub(super) fn sees_contacts(&self) -> bool {
        self.roles.contains(&Role::Contacts)
    }
}

/// Why a request is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// It shows no token, or one of nobody.
    NoToken,
    /// There are no tokens, and it comes from elsewhere.
    NotLocal,
}

struct User {
    token: String,
    digest: [u8; 32],
    viewer: Arc<Viewer>,
}

/// Who may ask.
pub struct Access {
    users: Vec<User>,
    local: Arc<Viewer>,
}

impl Access {
    /// The token and the users of a configuration. Without any only requests of this machine are admitted.
    pub fn new(api: &Api) -> Self {
        let everything = Arc::new(Viewer::of_everything());
        let user = |token: &str, viewer| User { token: token.into(), digest: Sha256::digest(token).into(), viewer };
        let of_token = api.token.iter().map(|token| user(token, Arc::clone(&everything)));
        let of_users = api.users.iter().map(|one| user(&one.token, Arc::new(Viewer::of_user(one))));
        Self { users: of_token.chain(of_users).collect(), local: Arc::clone(&everything) }
    }

    /// Whether tokens are needed.
    pub(super) fn needs_token(&self) -> bool {
        !self.users.is_empty()
    }

    /// Who sends a request.
    pub(super) fn admit(&self, peer: SocketAddr, host: &Host, headers: &HeaderMap) -> Result<Arc<Viewer>, Denied> {
        if !self.needs_token() {
            let is_local = is_local_request(peer, host, headers);
            return if is_local { Ok(Arc::clone(&self.local)) } else { Err(Denied::NotLocal) };
        }
        let by_token = || self.of_token(bearer(headers)?);
        let by_session = || {
            let now = session::now();
            self.users.iter().find(|user| session::is_open(headers, &user.token, now))
        };
        by_token().or_else(by_session).map(|user| Arc::clone(&user.viewer)).ok_or(Denied::NoToken)
    }

    /// The cookie of a new session for the owner of a token.
    pub(super) fn begin_session(&self, token: &str) -> Option<String> {
        self.of_token(token).map(|user| session::begin(&user.token, session::now()))
    }

    /// The user of a token. Compares hashes with all of them, so that timing reveals nothing.
    fn of_token(&self, token: &str) -> Option<&User> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        self.users.iter().fold(None, |found, user| if user.digest == digest { Some(user) } else { found })
    }
}

/// The bearer token of a request.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, value) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| value.trim())
}

/// Whether a request that changes something was meant by its sender. A page of another site can make a browser send
/// forms with the session, or from this machine; it can neither set these headers nor send JSON without being asked.
pub(super) fn is_meant(headers: &HeaderMap) -> bool {
    if bearer(headers).is_some() {
        return true;
    }
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let site = text(&HeaderName::from_static("sec-fetch-site"));
    if site.is_some_and(|site| site != "same-origin" && site != "none") {
        return false;
    }
    let own = |origin: &str| {
        let host = text(&HOST).unwrap_or_default();
        origin.split_once("://").is_some_and(|(_, origin)| origin.eq_ignore_ascii_case(host))
    };
    let is_json = text(&CONTENT_TYPE).is_some_and(|value| value.trim_start().starts_with("application/json"));
    site == Some("same-origin") || text(&ORIGIN).is_some_and(own) || is_json
}

/// Whether a request comes from this host, and no proxy forwards it.
fn is_local_request(peer: SocketAddr, host: &Host, headers: &HeaderMap) -> bool {
    is_loopback(peer.ip()) && host.is_local() && !is_forwarded(headers)
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Whether a proxy says that it forwards the request of another client.
fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| {
        let text = name.as_str();
        *name == FORWARDED || *name == VIA || text.starts_with("x-forwarded-") || text == "x-real-ip"
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn proxies_announce_what_they_forward() {
        let forwarded = |name: &'static str| is_forwarded(&headers(&[(name, "10.0.0.1")]));
        for name in ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"] {
            assert!(forwarded(name), "{name}");
        }
        for name in ["host", "user-agent", "accept", "x-request-id"] {
            assert!(!forwarded(name), "{name}");
        }
    }

    #[test]
    fn requests_that_other_sites_can_cause_are_not_meant() {
        for lines in [
            &[("authorization", "Bearer x")][..],
            &[("host", "h:1"), ("origin", "https://h:1")],
            &[("sec-fetch-site", "same-origin")],
            &[("content-type", "application/json; charset=utf-8")],
        ] {
            assert!(is_meant(&headers(lines)), "{lines:?}");
        }
        for lines in [
            &[][..],
            &[("content-type", "application/x-www-form-urlencoded")],
            &[("content-type", "text/plain")],
            &[("host", "h:1"), ("origin", "https://h")],
            &[("origin", "null")],
            &[("sec-fetch-site", "cross-site"), ("content-type", "application/json")],
            &[("sec-fetch-site", "same-site"), ("host", "h"), ("origin", "http://h")],
            &[("authorization", "Basic x")],
        ] {
            assert!(!is_meant(&headers(lines)), "{lines:?}");
        }
    }

    #[test]
    fn a_viewer_of_departments_sees_nothing_of_others() {
        let viewer = Viewer { departments: Some(["north".into()].into()), ..Viewer::of_everything() };
        let sees = |id: Option<&str>| viewer.sees_department(id.map(DepartmentId::from).as_ref());
        assert_eq!(
            [sees(Some("north")), sees(Some("south")), sees(Some(UNKNOWN)), sees(None)],
            [true, false, false, false]
        );
        assert!(!viewer.sees_contacts() && viewer.may_write());
    }
}
