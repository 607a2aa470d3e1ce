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

    /// Moves the first byte: negative grows the frame at its head, positive cuts it. False when there is no room.
    #[must_use]
    fn move_head(&mut self, by: i32) -> bool;

    /// Cuts the frame to `len` bytes. False when it is shorter.
    #[must_use]
    fn truncate(&mut self, len: usize) -> bool;
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
    /// The frame `buffer[headroom..headroom + len]`, received on interface `ingress`.
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

    fn move_head(&mut self, by: i32) -> bool {
        match self.start.checked_add_signed(by as isize) {
            Some(start) if start <= self.end => {
                self.start = start;
                true
            }
            _ => false,
        }
    }

    fn truncate(&mut self, len: usize) -> bool {
        if len > self.len() {
            return false;
        }
        self.end = self.start + len;
        true
    }
}
