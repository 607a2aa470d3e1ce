//! The seam between the packet path and packet memory.

/// A received frame that can be read, rewritten, and grown or shrunk.
///
/// Views are of fixed size, so that one bounds check covers a whole header.
pub trait Frame {
    /// Index of the interface it arrived on.
    fn ingress(&self) -> u32;

    /// Length in bytes.
    fn len(&self) -> usize;

    /// Whether it has no byte at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `N` bytes at `offset`; `None` past the end.
    fn view<const N: usize>(&self, offset: usize) -> Option<&[u8; N]>;

    /// `N` bytes at `offset`, for writing; `None` past the end.
    fn view_mut<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]>;

    /// Two bytes at `offset` as one number in the machine's byte order; `None` past the end.
    fn half(&self, offset: usize) -> Option<u16>;

    /// `N` four-byte words from `offset` on, in the machine's byte order; `None` past the end.
    ///
    /// What is read on every packet is read by words: from a view the compiler reads byte by byte, for it knows of no
    /// alignment.
    fn words<const N: usize>(&self, offset: usize) -> Option<[u32; N]>;

    /// Writes `N` words from `offset` on; `None` past the end. See [`Frame::words`].
    fn put_words<const N: usize>(&mut self, offset: usize, words: [u32; N]) -> Option<()>;

    /// Moves the first byte: negative grows the frame at its head, positive cuts it. False when there is no room.
    #[must_use]
    fn move_head(&mut self, by: i32) -> bool;

    /// Cuts the frame to `len` bytes, or makes it that long with bytes of any value. False when there is no room.
    #[must_use]
    fn resize(&mut self, len: usize) -> bool;
}

/// A frame in a buffer of the host: tests, fuzzing, simulation.
#[derive(Debug)]
pub struct SliceFrame<'a> {
    buffer: &'a mut [u8],
    start: usize,
    end: usize,
    ingress: u32,
}

impl<'a> SliceFrame<'a> {
    /// The frame `buffer[headroom..headroom + len]`, received on interface `ingress`. It can grow at either end as far as
    /// the buffer goes.
    #[must_use]
    pub fn new(buffer: &'a mut [u8], headroom: usize, len: usize, ingress: u32) -> Self {
        let end = (headroom + len).min(buffer.len());
        Self { buffer, start: headroom.min(end), end, ingress }
    }

    /// The frame's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }
}

impl Frame for SliceFrame<'_> {
    fn ingress(&self) -> u32 {
        self.ingress
    }

    fn len(&self) -> usize {
        self.end - self.start
    }

    fn view<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        self.bytes().get(offset..)?.first_chunk()
    }

    fn view_mut<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]> {
        self.buffer[self.start..self.end].get_mut(offset..)?.first_chunk_mut()
    }

    fn half(&self, offset: usize) -> Option<u16> {
        self.view::<2>(offset).map(|bytes| u16::from_ne_bytes(*bytes))
    }

    fn words<const N: usize>(&self, offset: usize) -> Option<[u32; N]> {
        let mut words = [0; N];
        for (index, word) in words.iter_mut().enumerate() {
            *word = u32::from_ne_bytes(*self.view(offset + 4 * index)?);
        }
        Some(words)
    }

    fn put_words<const N: usize>(&mut self, offset: usize, words: [u32; N]) -> Option<()> {
        self.bytes().get(offset..)?.get(..4 * N)?;
        for (index, word) in words.into_iter().enumerate() {
            *self.view_mut(offset + 4 * index)? = word.to_ne_bytes();
        }
        Some(())
    }

    fn move_head(&mut self, by: i32) -> bool {
        match self.start.checked_add_signed(by as isize) {
            Some(start) if start <= self.end => {
                self.start = start;
                true
            }
            _ => false,
        }
    }

    fn resize(&mut self, len: usize) -> bool {
        if self.start + len > self.buffer.len() {
            return false;
        }
        self.end = self.start + len;
        true
    }
}
