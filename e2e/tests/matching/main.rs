//! Claims that no ordinary volume matches: refused in words that say what to do, or bound with the right bytes; and in
//! no case is there ever a second volume for one claim.

mod bed;
mod bound;
mod later;
mod refused;
