//! A journal as an MCAP file, for Foxglove, Rerun and the `mcap` tools.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Seek, Write};
use std::sync::Arc;

use ::mcap::records::{MessageHeader, Metadata};
use ::mcap::write::NoSeek;
use ::mcap::{Attachment, McapError, WriteOptions, Writer};
use serde::Serialize;

use super::arrays::npy_header;
use super::{Exported, Selection, next_record};
use crate::digest::Digest;
use crate::error::{FileAction, JournalError};
use crate::index::Frames;
use crate::names::Names;
use crate::read::JournalReader;
use crate::record::{ExchangeRecord, Head, Record, RunEndRecord, RunStart};

/// What the messages look like, as JSON Schema.
const SCHEMA: &str = include_str!("exchange.schema.json");

/// Writes a journal as an MCAP file: a channel for each mediator, a message for each selected
/// exchange.
///
/// A message is the exchange as JSON, with names in place of numbers. A journal has no clock: the
/// time of a message is the index of its exchange, so that to seek to a nanosecond is to go to an
/// exchange. The head is the metadata `interloom.head`, each run that was begun `interloom.run.N`.
/// Tensors of the selected exchanges that the journal keeps are attachments, each once, as `.npy`
/// files named by their digests. Chunks have checksums and are not compressed. `name` is what
/// errors call the output.
///
/// # Errors
/// Those of [`JournalReader`], E061 if the output cannot be written, E069 if there are more than
/// 65,535 mediators, and E072 if a selected site is not in the journal.
pub fn mcap<R: Read + Seek, W: Write>(
    mut reader: JournalReader<R>,
    mut selection: Selection,
    sink: &mut W,
    name: &str,
) -> Result<Exported, JournalError> {
    let journal = reader.name().to_owned();
    let mut out = Mcap::new(sink, &journal, name)?;
    out.head(reader.head())?;
    let (mut names, mut tensors) = (Names::default(), Tensors::default());
    let mut start = None;
    while let Some((info, record)) = next_record(&mut reader, &mut out.exported.torn)? {
        names.see(&record);
        match record {
            Record::Tensor(tensor) => {
                tensors.kept.entry(tensor.digest).or_insert(info.offset);
            }
            Record::Exchange(exchange) if selection.takes(&names, &exchange) => {
                out.exchange(&names, &exchange)?;
                tensors.want(&exchange);
            }
            Record::RunStart(of_run) => {
                if let Some(interrupted) = start.replace(of_run) {
                    out.run(&interrupted, None)?;
                }
            }
            Record::RunEnd(end) => {
                if let Some(start) = start.take() {
                    out.run(&start, Some(&end))?;
                }
            }
            _ => {}
        }
    }
    if let Some(interrupted) = start {
        out.run(&interrupted, None)?;
    }
    selection.check(&journal, &names)?;
    out.tensors(tensors, reader)?;
    out.finish()
}

/// The tensors of a journal.
#[derive(Default)]
struct Tensors {
    /// Where the frame of each starts.
    kept: BTreeMap<Digest, u64>,
    /// Those that exported exchanges name, by the first of these.
    wanted: BTreeMap<u64, Vec<Digest>>,
    seen: BTreeSet<Digest>,
}

impl Tensors {
    fn want(&mut self, exchange: &ExchangeRecord) {
        if let Some(value) = &exchange.value {
            value.for_each_leaf(&mut |tensor| {
                if self.seen.insert(tensor.digest) {
                    let wanted = self.wanted.entry(exchange.index).or_default();
                    wanted.push(tensor.digest);
                }
            });
        }
    }
}

/// An MCAP file as it is written.
struct Mcap<'a, W: Write> {
    writer: Writer<NoSeek<&'a mut W>>,
    journal: Arc<str>,
    name: Arc<str>,
    schema: u16,
    /// The channel of each mediator, and how many messages it has.
    channels: BTreeMap<String, (u16, u32)>,
    exported: Exported,
}

impl<'a, W: Write> Mcap<'a, W> {
    fn new(sink: &'a mut W, journal: &str, name: &str) -> Result<Self, JournalError> {
        let name: Arc<str> = name.into();
        let options = WriteOptions::new()
            .compression(None)
            // Files of different versions of the crate differ in nothing but what they mean.
            .library(concat!("interloom ", env!("CARGO_PKG_VERSION")))
            .disable_seeking(true);
        let written = options.create(NoSeek::new(sink));
        let mut writer = written.map_err(|error| cannot(&name, error))?;
        let schema = writer.add_schema("interloom.Exchange", "jsonschema", SCHEMA.as_bytes());
        Ok(Self {
            schema: schema.map_err(|error| cannot(&name, error))?,
            writer,
            journal: journal.into(),
            name,
            channels: BTreeMap::new(),
            exported: Exported::default(),
        })
    }

    fn head(&mut self, head: &Head) -> Result<(), JournalError> {
        let facts = [
            ("experiment", head.experiment.name.clone()),
            ("version", head.version.clone()),
            ("device", head.device.clone()),
            ("arithmetic", head.arithmetic.clone()),
            ("policy", head.policy.to_string()),
            ("schedule", head.schedule.clone()),
            ("head", json(head)),
        ];
        self.metadata("interloom.head".to_owned(), facts)
    }

    fn run(&mut self, start: &RunStart, end: Option<&RunEndRecord>) -> Result<(), JournalError> {
        let facts = [
            ("name", start.name.clone()),
            ("start", json(start)),
            ("end", json(&end)),
        ];
        self.metadata(format!("interloom.run.{}", start.run), facts)
    }

    fn metadata<const N: usize>(
        &mut self,
        name: String,
        facts: [(&str, String); N],
    ) -> Result<(), JournalError> {
        let metadata = facts.map(|(key, value)| (key.to_owned(), value)).into();
        let written = self.writer.write_metadata(&Metadata { name, metadata });
        written.map_err(|error| cannot(&self.name, error))
    }

    fn exchange(&mut self, names: &Names, exchange: &ExchangeRecord) -> Result<(), JournalError> {
        let mediator = names.mediator(exchange.mediator);
        let (channel_id, sequence) = self.channel(mediator)?;
        let header = MessageHeader {
            channel_id,
            sequence,
            log_time: exchange.index,
            publish_time: exchange.index,
        };
        let message = names.json(exchange).to_string();
        let written = self
            .writer
            .write_to_known_channel(&header, message.as_bytes());
        self.exported.items += 1;
        written.map_err(|error| cannot(&self.name, error))
    }

    /// The channel of a mediator, and the number of its next message.
    fn channel(&mut self, mediator: String) -> Result<(u16, u32), JournalError> {
        if let Some((channel, count)) = self.channels.get_mut(&mediator) {
            let sequence = *count;
            // It is for people: the times are what counts.
            *count = count.wrapping_add(1);
            return Ok((*channel, sequence));
        }
        let added = self
            .writer
            .add_channel(self.schema, &mediator, "json", &BTreeMap::new());
        let channel = added.map_err(|error| match error {
            McapError::TooManyChannels => self.too_many(),
            error => cannot(&self.name, error),
        })?;
        self.channels.insert(mediator, (channel, 1));
        Ok((channel, 0))
    }

    fn too_many(&self) -> JournalError {
        JournalError::Limit {
            journal: self.journal.clone(),
            frame: 0,
            offset: 0,
            subject: "the number of the mediators in an MCAP file".to_owned(),
            found: self.channels.len() as u64 + 1,
            limit: u64::from(u16::MAX),
        }
    }

    /// Attaches what is kept; one tensor is in memory at a time.
    fn tensors<R: Read + Seek>(
        &mut self,
        tensors: Tensors,
        reader: JournalReader<R>,
    ) -> Result<(), JournalError> {
        let mut frames = Frames::new(reader.into_parts());
        for (exchange, digests) in tensors.wanted {
            for digest in digests {
                let Some(offset) = tensors.kept.get(&digest) else {
                    continue;
                };
                let tensor = frames.tensor(*offset)?;
                let header = npy_header(tensor.dtype, &tensor.shape);
                let written = self.writer.attach(&Attachment {
                    log_time: exchange,
                    create_time: 0,
                    name: format!("{digest}.npy"),
                    media_type: "application/x-npy".to_owned(),
                    data: Cow::Owned([&header[..], &tensor.bytes].concat()),
                });
                written.map_err(|error| cannot(&self.name, error))?;
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Exported, JournalError> {
        let written = self.writer.finish();
        written.map_err(|error| cannot(&self.name, error))?;
        let flushed = self.writer.into_inner().into_inner().flush();
        flushed
            .map_err(|error| JournalError::io(&self.name, FileAction::Other("write to"), &error))?;
        Ok(self.exported)
    }
}

/// Records with named fields serialise to JSON: they have no numbers that JSON lacks but floats in
/// arguments, which become null there.
fn json(record: &impl Serialize) -> String {
    serde_json::to_string(record).unwrap_or_default()
}

/// Nothing but the output can fail here.
fn cannot(name: &Arc<str>, error: McapError) -> JournalError {
    let error = match error {
        McapError::Io(error) => error,
        McapError::Parse(error) => io::Error::other(error.to_string()),
        other => io::Error::other(other.to_string()),
    };
    JournalError::io(name, FileAction::Other("write to"), &error)
}
