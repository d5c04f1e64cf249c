//! Owns the indices by which the objects of a tenant refer to each other: one type for each kind, so that they cannot be
//! confused. They are assigned in order of first appearance and have no meaning outside of the tenant.

/// An index into an arena or a list.
pub trait ArenaIndex: Copy + Eq {
    /// The first index.
    const FIRST: Self;
    /// From the position.
    fn new(position: u32) -> Self;
    /// The position.
    fn position(self) -> u32;
}

macro_rules! indices {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl ArenaIndex for $name {
            const FIRST: Self = Self(0);

            fn new(position: u32) -> Self {
                Self(position)
            }

            fn position(self) -> u32 {
                self.0
            }
        }
    )*};
}

indices! {
    /// A manager; 0 is no manager.
    ManagerIx
    /// A lead or deal.
    JourneyIx
    /// A contact.
    ContactIx
    /// A call.
    CallIx
    /// A stage of a pipeline.
    StageIx
    /// A currency.
    CurrencyIx
}

impl ManagerIx {
    /// No manager: counts for department `unknown` and the tenant.
    pub const NONE: Self = Self(0);

    /// This index, or `other` if this is [`Self::NONE`].
    pub fn or(self, other: Self) -> Self {
        if self == Self::NONE { other } else { self }
    }
}
