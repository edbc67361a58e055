//! Latency as a table and as a picture.

use super::super::plot;
use super::{Latency, Length, Way};

impl std::fmt::Display for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { model, threads, rounds, silence_ms, load, .. } = self;
        writeln!(f, "{model}, {threads} threads, median of {rounds}, load {:.1} to {:.1}", load[0], load[1])?;
        writeln!(f, "ms after the last sample of speech; {silence_ms} ms of silence end the command\n")?;
        writeln!(
            f,
            "| speech | heard | first token | worst | call ready | call told | done | first sound | computing | \
             while heard | drafts dropped | CPU | tokens | in the draft | drafts |"
        )?;
        writeln!(f, "|{}", "---|".repeat(15))?;
        for length in &self.lengths {
            for (name, way) in [("batch", &length.batch), ("streamed", &length.streamed)] {
                let at = |ms: Option<f64>| ms.map_or("-".to_owned(), |ms| format!("{ms:.0}"));
                writeln!(
                    f,
                    "| {:.1} s | {name} | {:.0} | {:.0} | {} | {} | {} | {} | {:.0} | {:.0} | {:.0} | {:.0} | \
                     {} ({} forced) | {} ({} forced) | {} |",
                    length.speech_ms / 1000.0,
                    way.first_token_ms,
                    way.first_token_worst_ms,
                    at(way.call_ready_ms),
                    at(way.told_ms),
                    at(way.done_ms),
                    at(way.first_sound_ms),
                    way.computing_ms,
                    way.while_heard_ms,
                    way.dropped_ms,
                    way.cpu_ms,
                    way.tokens,
                    way.forced_tokens,
                    way.drafted_tokens,
                    way.drafted_forced_tokens,
                    way.drafts,
                )?;
            }
        }
        // Fewer rounds have no 95 of 100.
        let late = if *rounds < 20 { "worst" } else { "p95" };
        for Length { speech_ms, batch, streamed } in &self.lengths {
            let told = |way: &Way| way.told_p95_ms.map_or("-".to_owned(), |ms| format!("{ms:.0}"));
            write!(
                f,
                "\n{:.1} s: {late} of the first token {:.0} batch and {:.0} streamed, told {} and {}; the longest block took {:.0} ms; \
                 computing took {:.2} of the time of the speech",
                speech_ms / 1000.0,
                batch.first_token_p95_ms,
                streamed.first_token_p95_ms,
                told(batch),
                told(streamed),
                streamed.longest_block_ms,
                streamed.computing_ms / speech_ms,
            )?;
            write!(
                f,
                "\n{:.1} s: first token {:.1} x sooner, {:.2} x the computing, {:.2} x the CPU",
                speech_ms / 1000.0,
                batch.first_token_ms / streamed.first_token_ms,
                streamed.computing_ms / batch.computing_ms,
                streamed.cpu_ms / batch.cpu_ms
            )?;
        }
        Ok(())
    }
}

impl Latency {
    /// Latency over length, as SVG.
    pub fn plot(&self) -> String {
        let over = |way: fn(&Length) -> Option<f64>| {
            let point = |length: &Length| Some((length.speech_ms / 1000.0, way(length)?));
            self.lengths.iter().filter_map(point).collect()
        };
        let (red, blue) = ("#c0504d", "#1f6fb4");
        let line = |name, color, dashed, points| plot::Line { name, color, dashed, points };
        let lines = [
            line("batch: first sound", red, true, over(|l| l.batch.first_sound_ms)),
            line("batch: first token", red, false, over(|l| Some(l.batch.first_token_ms))),
            line("streamed: first sound", blue, true, over(|l| l.streamed.first_sound_ms)),
            line("streamed: first token", blue, false, over(|l| Some(l.streamed.first_token_ms))),
        ];
        let title = format!("{}, {} threads", self.model, self.threads);
        let marks = [(f64::from(self.silence_ms), "end of the silence")];
        plot::svg(&title, ["seconds of speech", "ms after the last sample of speech"], &lines, &marks)
    }
}
