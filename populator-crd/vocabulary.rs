//! Closed vocabularies: condition types and reasons, each word with its meaning.

/// Defines an enum whose variants' names are words of the API, and whose doc comments are their meanings.
macro_rules! vocabulary {
    (
        $(#[$attribute:meta])*
        pub enum $name:ident {
            $( $(#[doc = $text:literal])+ $word:ident, )+
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $( $(#[doc = $text])+ $word, )+
        }

        impl $name {
            /// Every word, in the order of the reference.
            pub const ALL: &[Self] = &[$( Self::$word, )+];

            /// The word itself.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $( Self::$word => stringify!($word), )+
                }
            }

            /// What the word means, for the reference.
            #[must_use]
            pub const fn describe(self) -> &'static str {
                match self {
                    $( Self::$word => concat!($($text),+).trim_ascii(), )+
                }
            }
        }
    };
}

pub(crate) use vocabulary;
