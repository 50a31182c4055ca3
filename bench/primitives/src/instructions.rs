//! Instructions of this thread outside the kernel, as the processor counts them.
use criterion::{
    Throughput,
    measurement::{Measurement, ValueFormatter},
};
use perf_event::{Builder, Counter, events::Hardware};
use std::{cell::RefCell, io};

pub(crate) struct Instructions(RefCell<Counter>);

impl Instructions {
    pub(crate) fn new() -> io::Result<Self> {
        let mut counter = Builder::new(Hardware::INSTRUCTIONS).build()?;
        counter.enable()?;
        Ok(Self(RefCell::new(counter)))
    }
    fn now(&self) -> u64 {
        self.0.borrow_mut().read().expect("the counter was there before")
    }
}

impl Measurement for Instructions {
    type Intermediate = u64;
    type Value = u64;

    fn start(&self) -> u64 {
        self.now()
    }
    fn end(&self, before: u64) -> u64 {
        self.now() - before
    }
    fn add(&self, a: &u64, b: &u64) -> u64 {
        a + b
    }
    fn zero(&self) -> u64 {
        0
    }
    #[allow(clippy::cast_precision_loss, reason = "criterion reckons in these")]
    fn to_f64(&self, value: &u64) -> f64 {
        *value as f64
    }
    fn formatter(&self) -> &dyn ValueFormatter {
        &Plain
    }
}

struct Plain;

impl ValueFormatter for Plain {
    fn scale_values(&self, _: f64, _: &mut [f64]) -> &'static str {
        "instructions"
    }
    fn scale_throughputs(&self, _: f64, _: &Throughput, _: &mut [f64]) -> &'static str {
        "instructions"
    }
    fn scale_for_machines(&self, _: &mut [f64]) -> &'static str {
        "instructions"
    }
}
