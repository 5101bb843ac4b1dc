//! Burn's interface of data loaders, over an order in which every position opens by itself.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::{Dataset, DatasetError};
use burn::tensor::Device;

use crate::error::Error;
use crate::training::DataOrder;

/// A loader of batches whose order is a function of seed, epoch and position.
///
/// Burn's own loaders draw their order from a generator that begins anew when they are built, so
/// that the first epoch after a resume has the order of the first epoch of all; and with several
/// workers they deliver in the order of arrival. Here an epoch is a permutation of the data set
/// ([`DataOrder`]), cut into batches, the last of which may be smaller.
///
/// Each [`iter`](DataLoader::iter) is the next epoch, from that of
/// [`from_epoch`](Self::from_epoch) on. A [`Recorder`](super::Recorder) opens batches by number
/// instead.
///
/// ```
/// use std::sync::Arc;
///
/// use burn::data::dataloader::{DataLoader, batcher::Batcher};
/// use burn::data::dataset::InMemDataset;
/// use burn::tensor::Device;
/// use interloom::training::DataOrder;
/// use interloom::training::learner::OrderedLoader;
///
/// struct Items;
///
/// impl Batcher<u64, Vec<u64>> for Items {
///     fn batch(&self, items: Vec<u64>, _: &Device) -> Vec<u64> {
///         items
///     }
/// }
///
/// let items = InMemDataset::new((0..10).collect());
/// let order = DataOrder::new(7, 10)?;
/// let loader = OrderedLoader::new(items, Items, 4, order, &Device::flex())?;
/// for epoch in 0..2 {
///     let batches: Vec<Vec<u64>> = loader.iter().collect::<Result<_, _>>().unwrap();
///     let positions = (0..10).map(|position| order.item(epoch, position));
///     assert_eq!(batches.concat(), positions.collect::<Vec<_>>());
/// }
/// # Ok::<(), interloom::Error>(())
/// ```
pub struct OrderedLoader<I, O> {
    source: Arc<Source<I, O>>,
    device: Device,
    /// Which positions of an epoch are delivered.
    positions: Range<u64>,
    /// The epoch that is delivered next, from 0 on.
    epoch: AtomicU64,
}

struct Source<I, O> {
    dataset: Box<dyn Dataset<I>>,
    batcher: Box<dyn Batcher<I, O>>,
    batch_size: u64,
    order: DataOrder,
}

impl<I: 'static, O: 'static> OrderedLoader<I, O> {
    /// Orders a data set, to be delivered in batches of `batch_size` items on a device.
    ///
    /// # Errors
    ///
    /// [`Error::Training`] if a batch has no items, or if the order is not of as many items as the
    /// data set.
    pub fn new(
        dataset: impl Dataset<I> + 'static,
        batcher: impl Batcher<I, O> + 'static,
        batch_size: usize,
        order: DataOrder,
        device: &Device,
    ) -> Result<Arc<Self>, Error> {
        let items = dataset.len() as u64;
        let problem = if batch_size == 0 {
            "a batch of 0 items is none; give a size above 0".to_owned()
        } else if order.items() != items {
            format!(
                "the data set has {items} items, and the order is of {}; make it of as many",
                order.items()
            )
        } else {
            String::new()
        };
        if !problem.is_empty() {
            return Err(Error::Training(problem));
        }
        let source = Source {
            dataset: Box::new(dataset),
            batcher: Box::new(batcher),
            batch_size: batch_size as u64,
            order,
        };
        Ok(Arc::new(Self {
            source: Arc::new(source),
            device: device.clone(),
            positions: 0..items,
            epoch: AtomicU64::new(0),
        }))
    }

    /// Returns a loader of the same data whose next epoch is this one, from 0 on.
    pub fn from_epoch(&self, epoch: u64) -> Arc<Self> {
        Arc::new(Self {
            epoch: AtomicU64::new(epoch),
            ..self.with(self.positions.clone(), &self.device)
        })
    }

    /// Returns how many batches an epoch has.
    pub fn batches(&self) -> u64 {
        let [items, batch] = self.sizes();
        items.div_ceil(batch)
    }

    /// Returns how many items an epoch has, and how many a batch.
    pub(super) fn sizes(&self) -> [u64; 2] {
        let items = self.positions.end - self.positions.start;
        [items, self.source.batch_size]
    }

    /// Returns the device that batches are made on.
    pub const fn device(&self) -> &Device {
        &self.device
    }

    /// Returns the items of a batch of an epoch, by number.
    pub fn items(&self, epoch: u64, batch: u64) -> Vec<u64> {
        let Range { start, end } = self.positions;
        let first = (start + batch * self.source.batch_size).min(end);
        let last = (first + self.source.batch_size).min(end);
        let order = &self.source.order;
        (first..last)
            .map(|position| order.item(epoch, position))
            .collect()
    }

    /// Returns a batch of items on a device.
    pub(super) fn batch_on(&self, device: &Device, items: &[u64]) -> Result<O, DatasetError> {
        let Source {
            dataset, batcher, ..
        } = &*self.source;
        let items = items.iter().map(|item| *item as usize).collect();
        Ok(batcher.batch(dataset.get_many(items)?, device))
    }

    /// Returns how far an epoch is after some of its batches.
    pub(super) fn progress_after(&self, batches: u64) -> Progress {
        let [total, batch] = self.sizes();
        let delivered = (batches * batch).min(total);
        let unit = Some("items".to_owned());
        Progress::new(delivered as usize, total as usize, unit)
    }

    fn with(&self, positions: Range<u64>, device: &Device) -> Self {
        Self {
            source: self.source.clone(),
            device: device.clone(),
            positions,
            epoch: AtomicU64::new(self.epoch.load(Ordering::Relaxed)),
        }
    }
}

impl<I: 'static, O: 'static> DataLoader<O> for OrderedLoader<I, O> {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<O> + 'a> {
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed);
        Box::new(Epoch {
            loader: self,
            epoch,
            delivered: 0,
        })
    }

    fn num_items(&self) -> usize {
        let [items, _] = self.sizes();
        items as usize
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<O>> {
        Arc::new(self.with(self.positions.clone(), device))
    }

    /// Each epoch's permutation is cut, so that the parts of it share no item.
    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<O>> {
        let at = |position: usize| (self.positions.start + position as u64).min(self.positions.end);
        Arc::new(self.with(at(start)..at(end), &self.device))
    }
}

/// The batches of one epoch.
struct Epoch<'a, I, O> {
    loader: &'a OrderedLoader<I, O>,
    epoch: u64,
    delivered: u64,
}

impl<I: 'static, O: 'static> Iterator for Epoch<'_, I, O> {
    type Item = Result<O, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.delivered == self.loader.batches() {
            return None;
        }
        let items = self.loader.items(self.epoch, self.delivered);
        self.delivered += 1;
        Some(self.loader.batch_on(&self.loader.device, &items))
    }
}

impl<I: 'static, O: 'static> DataLoaderIterator<O> for Epoch<'_, I, O> {
    fn progress(&self) -> Progress {
        self.loader.progress_after(self.delivered)
    }
}
