//! What the error codes of journals mean.

use interloom_engine::{AtFault, Code};

/// What `interloom explain` says about journals.
pub(crate) const CODES: &[Code] = &[
    Code::new(
        "E060",
        "no such journal",
        AtFault::Misuse,
        "There is no file of that name. `interloom demo --journal FILE` and `interloom causal-trace --journal FILE` write \
         journals; without `--journal` they say where they write.",
    ),
    Code::new(
        "E061",
        "a journal cannot be read or written",
        AtFault::Environment,
        "The operating system refused an operation on the journal: no permission, a full disk, a device that failed. What was \
         written before is intact, and nothing after the failure was written.",
    ),
    Code::new(
        "E062",
        "not a journal",
        AtFault::Misuse,
        "The file does not start as an Interloom journal does. Check the path.",
    ),
    Code::new(
        "E063",
        "a journal of a newer format",
        AtFault::Environment,
        "The journal was written by a newer version of Interloom, in a format whose meaning this version does not know. \
         Upgrade Interloom. Newer minor formats are read; newer major ones are refused.",
    ),
    Code::new(
        "E064",
        "a damaged journal",
        AtFault::Journal,
        "A frame of the journal does not have the checksum that was written with it: the file was altered after it was \
         recorded. The frames before it are good.",
    ),
    Code::new(
        "E065",
        "a journal that ends early",
        AtFault::Journal,
        "The file was cut, or the program that recorded it ended before it was done. Everything up to the last good frame \
         can be used: the tools that read journals go so far, and `interloom recover` makes a whole journal of it.",
    ),
    Code::new(
        "E066",
        "a malformed record",
        AtFault::Journal,
        "A frame is intact, but its content is not what a record of its kind must be. It was not written by Interloom, or by \
         a version with a defect.",
    ),
    Code::new(
        "E067",
        "a journal out of sequence",
        AtFault::Journal,
        "Frames or exchanges are missing, doubled, swapped, or spliced in from another journal.",
    ),
    Code::new(
        "E068",
        "a digest does not match",
        AtFault::Journal,
        "The exchanges of a run, or the bytes of a tensor, do not have the digest that was recorded for them.",
    ),
    Code::new(
        "E069",
        "a limit is exceeded",
        AtFault::Journal,
        "A record is larger or nested deeper than the format allows. Record with the policy `digest` instead of `full`, or \
         split the value.",
    ),
    Code::new(
        "E070",
        "a file would be overwritten",
        AtFault::Misuse,
        "A journal replaces an older journal, but no other file, and not the one that is read meanwhile, whatever name it is \
         given: a link leads to the same file. Choose another name, or move the file away.",
    ),
    Code::new(
        "E071",
        "a tensor is missing",
        AtFault::Journal,
        "An exchange names a tensor by its digest, and the journal should have its bytes (policy `full`) but does not: its \
         frame was taken out. All exchanges are good, as the digests of their runs show.",
    ),
    Code::new(
        "E072",
        "not in the journal",
        AtFault::Misuse,
        "A run, a site, a mediator, an exchange or a tensor was asked for by name or number, and the journal does not have it. \
         `interloom show FILE` lists the exchanges, `interloom check FILE` the runs. Tensors are kept under the policies \
         `full` and `sampled` only.",
    ),
    Code::new(
        "E073",
        "a journal has another writer",
        AtFault::Environment,
        "Two writers would mix their exchanges, so the second is refused: another recording to the same file is running, or \
         `interloom recover --in-place` works on it. Wait until it is done, or record to another path. Reading a journal \
         while it is written is fine. Nothing was changed.",
    ),
    Code::new(
        "E074",
        "a journal of a newer behaviour",
        AtFault::Environment,
        "The head of the journal names a behaviour that came with a newer version of Interloom. This version can read the \
         journal, and would do something else when it replays it or goes on with it. Use the version that recorded. \
         docs/FORMAT.md lists the behaviours under `Quirks`.",
    ),
];
