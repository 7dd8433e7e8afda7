//! What goes wrong, and what the user is told: the right class, a reason in one word, and a message that says what to
//! do, in the sync's record and as an event on the claim.

mod broken;
mod continued;
mod given_up;
mod hostile;
mod images;
mod judge;
mod quota;
mod sources;
mod transfers;
mod volumes;
