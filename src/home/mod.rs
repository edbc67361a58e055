//! What the house can do.

pub mod resolve;
pub mod schema;
pub mod simulated;
pub mod timers;
