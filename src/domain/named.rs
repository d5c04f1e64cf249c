//! Owns the form of enums whose values have a name: in norms, alerts, headers, labels or responses.

/// Declares enums with the name of each value after its variant, and says where the names are used. They derive the traits
/// of plain values.
macro_rules! named_enum {
    ($($(#[$about:meta])* pub enum $enum:ident, named $place:literal {
        $($(#[$meaning:meta])* $variant:ident = $name:literal,)+
    })+) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $enum {
            $($(#[$meaning])* $variant,)+
        }

        impl $enum {
            /// Every value, in order.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            #[doc = concat!("The name ", $place, ".")]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// The value with this name.
            #[allow(dead_code)] // Not every enum is read.
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|known| known.name() == name)
            }
        }
    )+};
}
pub(crate) use named_enum;
