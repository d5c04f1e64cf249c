//! Owns what is reported of the bounds of a tenant: what was left out or summed up because of them.

use crate::domain::tenant::Tenant;

impl Tenant {
    /// Takes the number of contacts, plans and legs that were left out since the last call.
    pub fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }

    /// The numbers of stages and currencies that were used.
    pub fn names_used(&self) -> [usize; 2] {
        self.context.names_used()
    }

    /// Takes the numbers of stages and currencies that were first used beyond their bounds.
    pub fn take_summed_up(&mut self) -> [u64; 2] {
        std::mem::take(&mut self.context.summed_up)
    }
}
