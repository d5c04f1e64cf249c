//! Owns the addresses of the page: what is shown and how is all in them, so that each can be sent to others; and the views
//! that they stand for.

use crate::codec::ascii::percent_encoded_segment as encoded;
use crate::domain::id::{EntityId, EntityKind, ManagerId, TenantId};
use crate::domain::rule::message::Language;
use crate::edge::http::access::Viewer;
use std::fmt::Write as _;
use std::sync::Arc;

/// What a view shows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Content {
    Company,
    Manager(ManagerId),
}

/// A view of a company, which all its viewers share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct View {
    pub(super) tenant: TenantId,
    pub(super) content: Content,
    pub(super) shown: Shown,
    pub(super) language: Language,
    /// Who looks: what another one may not see is in no fragment that they share.
    pub(super) viewer: Arc<Viewer>,
}

/// How the page is shown; what is `None` is as configured and not in addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Shown {
    pub(super) window: Option<String>,
    pub(super) department: Option<String>,
    pub(super) language: Option<Language>,
    /// For a screen on a wall.
    pub(super) wall: bool,
}

impl Shown {
    /// The address of a view of a company, `end` after its path.
    fn address(&self, tenant: &TenantId, end: &str) -> String {
        let mut address = format!("/t/{}{end}", encoded(tenant.as_str()));
        let values = [
            ("window", self.window.as_deref()),
            ("department", self.department.as_deref()),
            ("lang", self.language.map(Language::name)),
            ("wall", self.wall.then_some("1")),
        ];
        let mut separator = '?';
        for (key, value) in values {
            if let Some(value) = value {
                let _ = write!(address, "{separator}{key}={}", encoded(value));
                separator = '&';
            }
        }
        address
    }

    pub(super) fn company(&self, tenant: &TenantId) -> String {
        self.address(tenant, "")
    }

    pub(super) fn manager(&self, tenant: &TenantId, id: &ManagerId) -> String {
        self.address(tenant, &format!("/managers/{}", encoded(id.as_str())))
    }

    pub(super) fn entity(&self, tenant: &TenantId, entity: &EntityId) -> String {
        let kind = match entity.kind {
            EntityKind::Lead => "leads",
            EntityKind::Deal => "deals",
        };
        self.address(tenant, &format!("/{kind}/{}", encoded(&entity.id)))
    }

    /// The address of a table as CSV.
    pub(super) fn csv(&self, tenant: &TenantId, table: &str) -> String {
        self.address(tenant, &format!("/{table}.csv"))
    }

    /// The address of the reviews of a company.
    pub(super) fn reviews(&self, tenant: &TenantId) -> String {
        self.address(tenant, "/reviews")
    }

    /// The address of what stands behind a figure; `labels` choose some of its members.
    pub(super) fn figure(
        &self,
        tenant: &TenantId,
        figure: &str,
        manager: Option<&ManagerId>,
        labels: &[(&str, &str)],
    ) -> String {
        let mut address = self.address(tenant, &format!("/figures/{figure}"));
        let manager = manager.map(|id| ("manager", id.as_str()));
        for (key, value) in manager.into_iter().chain(labels.iter().copied()) {
            let separator = if address.contains('?') { '&' } else { '?' };
            let _ = write!(address, "{separator}{key}={}", encoded(value));
        }
        address
    }

    /// The address to which it is sent that somebody takes care of an alert.
    pub(super) fn taken(&self, tenant: &TenantId, alert: &str) -> String {
        self.address(tenant, &format!("/alerts/{}/taken", encoded(alert)))
    }

    /// The address of the stream of a view.
    pub(super) fn stream(&self, tenant: &TenantId, content: &Content) -> String {
        match content {
            Content::Company => self.address(tenant, "/stream"),
            Content::Manager(id) => self.address(tenant, &format!("/managers/{}/stream", encoded(id.as_str()))),
        }
    }
}

/// The address to which the review of a call or message is sent.
pub(super) fn reviewed(shown: &Shown, tenant: &TenantId, interaction: &str) -> String {
    shown.address(tenant, &format!("/reviews/{}", encoded(interaction)))
}

/// The address of the members of a figure as CSV of the API.
pub(super) fn members_csv(tenant: &TenantId, figure: &str, parameters: &[(String, String)]) -> String {
    let mut address = format!("/t/{}/figures/{figure}.csv", encoded(tenant.as_str()));
    for (index, (key, value)) in parameters.iter().enumerate() {
        let _ = write!(address, "{}{key}={}", if index == 0 { '?' } else { '&' }, encoded(value));
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_cannot_change_the_path_or_the_query() {
        let shown = Shown { department: Some("a&b=c #".into()), wall: true, ..Shown::default() };
        let tenant = TenantId::from("../x");
        assert_eq!(shown.company(&tenant), "/t/%2E%2E%2Fx?department=a%26b%3Dc%20%23&wall=1");
        let entity = EntityId { kind: EntityKind::Deal, id: "1/2?".into() };
        assert_eq!(Shown::default().entity(&tenant, &entity), "/t/%2E%2E%2Fx/deals/1%2F2%3F");
    }
}
