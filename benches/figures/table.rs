//! What is printed: one line for each figure, as soon as it is known.

use std::time::Duration;

use crate::Plan;

/// What the design asks of a figure.
#[derive(Clone, Copy)]
pub enum Target {
    None,
    AtLeast(f64),
    AtMost(f64),
}

/// A figure beside what it is measured against.
pub struct Row {
    pub figure: String,
    pub measured: String,
    pub baseline: String,
    /// What the target is about: a ratio, or the figure itself.
    pub judged: Option<f64>,
    pub unit: &'static str,
    pub target: Target,
}

impl Row {
    /// A figure that is only shown.
    pub fn shown(figure: impl Into<String>, measured: impl Into<String>, baseline: impl Into<String>) -> Self {
        Self {
            figure: figure.into(),
            measured: measured.into(),
            baseline: baseline.into(),
            judged: None,
            unit: "",
            target: Target::None,
        }
    }

    pub fn ratio(self, ratio: f64, target: Target) -> Self {
        Self { judged: Some(ratio), unit: "×", target, ..self }
    }

    pub fn value(self, value: f64, unit: &'static str, target: Target) -> Self {
        Self { judged: Some(value), unit, target, ..self }
    }

    pub fn print(self) {
        let judged = self.judged.map(|value| figure(value, self.unit)).unwrap_or_default();
        let (target, verdict) = match (self.judged, self.target) {
            (Some(value), Target::AtLeast(least)) => {
                let short = least - value;
                let verdict =
                    if short <= 0.0 { "met".into() } else { format!("missed by {}", figure(short, self.unit)) };
                (format!("≥ {}", figure(least, self.unit)), verdict)
            }
            (Some(value), Target::AtMost(most)) => {
                let over = value - most;
                let verdict = if over <= 0.0 { "met".into() } else { format!("missed by {}", figure(over, self.unit)) };
                (format!("≤ {}", figure(most, self.unit)), verdict)
            }
            _ => Default::default(),
        };
        let Self { figure, measured, baseline, .. } = self;
        println!(
            "{}",
            format!("  {figure:<34} {measured:<36} {baseline:<36} {judged:>9}  {target:<9} {verdict}").trim_end()
        );
    }
}

pub fn head(plan: Plan) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let busy = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let busy = busy.split(' ').next().unwrap_or("?");
    let how = plan.pick("quick", "full");
    println!("strongroom's figures · {how} run · {cores} cores · load before it {busy}");
}

pub fn section(title: &str, measured: &str, baseline: &str) {
    println!("\n{title}");
    println!("  {:<34} {measured:<36} {baseline:<36} {:>9}  {:<9}", "", "judged", "target");
}

fn figure(value: f64, unit: &str) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}{unit}"),
        size if size >= 10.0 => format!("{value:.1}{unit}"),
        _ => format!("{value:.2}{unit}"),
    }
}

/// 1234567 reads 1 234 567.
pub fn count(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

pub fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 0.000_9 => format!("{:.2} ms", s * 1e3),
        s if s >= 0.000_001 => format!("{:.1} µs", s * 1e6),
        s => format!("{:.0} ns", s * 1e9),
    }
}

pub fn median<T: PartialOrd + Copy>(values: impl IntoIterator<Item = T>) -> T {
    let mut values: Vec<T> = values.into_iter().collect();
    values.sort_by(|a, b| a.partial_cmp(b).unwrap());
    values[values.len() / 2]
}
