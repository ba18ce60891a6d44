//! Budgets the work of applying push rules.

/// Work that may still be done. A step is a few nanoseconds: a byte read, a character compared.
#[derive(Debug)]
pub struct Budget {
    steps: u64,
    left: u64,
}

/// The budget does not suffice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too much work")]
pub struct Spent;

impl Budget {
    /// Allows so many steps.
    #[must_use]
    pub const fn new(steps: u64) -> Self {
        Self { steps, left: steps }
    }

    /// Takes steps, before they are done.
    pub fn take(&mut self, steps: u64) -> Result<(), Spent> {
        match self.left.checked_sub(steps) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(Spent)
            }
        }
    }

    /// How many steps were taken.
    #[must_use]
    pub const fn used(&self) -> u64 {
        self.steps - self.left
    }

    /// How many steps may still be taken.
    #[must_use]
    pub const fn left(&self) -> u64 {
        self.left
    }
}
