# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The fast pass, compiled: driven by the resource's table, it writes a row's CSV line into a buffer.

Its twin and reference is the function that `generate_fast_pass` makes: both accept the same events,
with the same rows and the same counts. Only the values of nearly every event are decided here; any
other value goes to the same checks as in the twin.

Of 35,000 instructions for an event of 545 B with 23 columns, msgspec's decoder takes 14,000 and the
digest 7,000.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.long cimport PyLong_AsLongLongAndOverflow
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.string cimport memcpy, memset

from worker.core.intake.decode import DECODE_FAILURES
from worker.core.intake.faults import shown_name
from worker.core.intake.raw_fields import decode_object, decode_text
from worker.core.intake.line import QUOTED
from worker.core.model.row import RECORD_OVERHEAD_BYTES, KeySource, Row
from worker.core.post_api.column import PAYLOAD_BYTES_MAX, Kind

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

# Given by the build: a test compares it with this file.
cdef extern from *:
    """
    #ifndef SOURCE_DIGEST
    #define SOURCE_DIGEST ""
    #endif
    """
    const char *SOURCE_DIGEST

source_digest = SOURCE_DIGEST.decode()

cdef object CONTENT = KeySource.CONTENT
cdef Py_ssize_t CUT_FROM_BYTES = PAYLOAD_BYTES_MAX
cdef Py_ssize_t OVERHEAD_BYTES = RECORD_OVERHEAD_BYTES
# A line of usual length takes no allocation; the buffer of a longer line is given back behind it.
cdef enum:
    BUFFER_BYTES = 16 * 1024
    # Always free: room for the commas of all columns, which are written without a check.
    SPARE_BYTES = 256
    # The digits of any integer of 64 bits, and its sign.
    INTEGER_BYTES = 24
    # A number of this many digits is always an integer of 64 bits.
    PLAIN_DIGITS_MAX = 18
    IPV4_PARTS = 4
    IPV6_GROUPS = 8

# 1 for each byte that makes a cell need quotes.
cdef unsigned char[256] NEEDS_QUOTES
memset(NEEDS_QUOTES, 0, sizeof(NEEDS_QUOTES))
NEEDS_QUOTES[<unsigned char>b","] = NEEDS_QUOTES[<unsigned char>b'"'] = 1
NEEDS_QUOTES[<unsigned char>b"\n"] = NEEDS_QUOTES[<unsigned char>b"\r"] = 1

# What is done with a column's value before the check of its kind is called.
cdef enum Shortcut:
    TEXT      # a text or an integer as it is: the decoder has checked it
    INTEGER   # an integer in its bounds as its digits
    TIME      # an integer in the window as its digits; the time of the row
    OBJECT    # a JSON object byte for byte, if it is UTF-8; also in a string
    ADDRESS   # an address of a usual form
    CONSTANT  # the route's own text
    CHECKED   # none: the check is called


cdef class CompiledColumn:
    """A column of the table: its shortcut, its check, and what is counted of its cells."""

    cdef int index
    cdef Shortcut shortcut
    cdef bint required, quoted, dates
    cdef long long minimum, maximum
    cdef object column, check, exceeds, name, change
    cdef tuple usual

    def __init__(self, int index, place, usual, limit):
        column = place.column
        self.index, self.name = index, column.name
        self.column, self.check = place.shown, place.check
        self.required, self.quoted = column.required, column.kind in QUOTED
        self.dates = column.kind is Kind.TIMESTAMP
        self.shortcut = _shortcut(place)
        # Bounds beyond a signed integer of 64 bits are left to the check.
        self.minimum = max(column.minimum, -(2**63))
        self.maximum = min(column.maximum, 2**63 - 1)
        # Few and short: to compare them takes less than to hash the cell.
        self.usual = None if usual is None else tuple(sorted(usual))
        self.exceeds, self.change = limit if limit is not None else (None, None)


cdef Shortcut _shortcut(place):
    kind = place.column.kind
    if place.path is None:
        return CONSTANT
    if kind is Kind.STRING or kind is Kind.SESSION_TYPE:
        return TEXT
    if kind is Kind.INTEGER or kind is Kind.DEVICE_ID:
        return INTEGER
    if kind is Kind.TIMESTAMP:
        return TIME
    if kind is Kind.IPV6:
        return ADDRESS
    return OBJECT if kind is Kind.JSON_OBJECT else CHECKED


cdef class Line:
    """The line that is being written."""

    cdef char *start
    cdef Py_ssize_t size, capacity

    def __dealloc__(self):
        PyMem_Free(self.start)

    cdef inline int reserve(self, Py_ssize_t extra) except -1:
        if self.size + extra + SPARE_BYTES > self.capacity:
            self.grow(self.size + extra + SPARE_BYTES)
        return 0

    cdef int grow(self, Py_ssize_t least) except -1:
        cdef Py_ssize_t capacity = max(self.capacity, <Py_ssize_t>BUFFER_BYTES)
        cdef char *moved
        while capacity < least:
            capacity *= 2
        moved = <char *>PyMem_Realloc(self.start, capacity)
        if moved == NULL:
            raise MemoryError
        self.start, self.capacity = moved, capacity
        return 0

    cdef inline void separator(self, char byte) noexcept:
        """A comma or a line feed: there is always room for those of a line."""
        self.start[self.size] = byte
        self.size += 1

    cdef int text(self, str text) except -1:
        """A cell, in quotes where it must be."""
        cdef Py_ssize_t size = 0, index
        cdef const char *source = PyUnicode_AsUTF8AndSize(text, &size)
        cdef char *target
        cdef unsigned char special = 0
        self.reserve(size)
        target = self.start + self.size
        for index in range(size):
            target[index] = source[index]
            special |= NEEDS_QUOTES[<unsigned char>source[index]]
        if special:
            self.quoted(source, size)
        else:
            self.size += size
        return 0

    cdef bint quoted(self, const char *source, Py_ssize_t size) except -1:
        """A cell in quotes, its quotes doubled; whether it is ASCII."""
        cdef Py_ssize_t index
        cdef char *target
        cdef char byte
        cdef char bits = 0
        self.reserve(2 * size + 2)
        target = self.start + self.size
        target[0] = b'"'
        target += 1
        for index in range(size):
            byte = source[index]
            bits |= byte
            target[0] = byte
            target += 1
            if byte == b'"':
                target[0] = b'"'
                target += 1
        target[0] = b'"'
        self.size = target + 1 - self.start
        return (bits & 0x80) == 0

    cdef int quoted_text(self, str text) except -1:
        """A cell in quotes; an empty cell has none."""
        cdef Py_ssize_t size = 0
        cdef const char *source = PyUnicode_AsUTF8AndSize(text, &size)
        if size:
            self.quoted(source, size)
        return 0

    cdef int integer(self, long long number) except -1:
        """The digits of an integer."""
        cdef char[24] digits
        cdef int at = INTEGER_BYTES
        cdef unsigned long long rest
        rest = <unsigned long long>number if number >= 0 else 0 - <unsigned long long>number
        while True:
            at -= 1
            digits[at] = <char>(48 + rest % 10)
            rest //= 10
            if rest == 0:
                break
        if number < 0:
            at -= 1
            digits[at] = b"-"
        self.reserve(INTEGER_BYTES)
        memcpy(self.start + self.size, digits + at, INTEGER_BYTES - at)
        self.size += INTEGER_BYTES - at
        return 0

    cdef int text_or_integer(self, value) except -1:
        """The cell of a value that is a text, an integer or null."""
        cdef int overflow = 0
        cdef long long number
        if type(value) is str:
            self.text(<str>value)
        elif value is not None:
            number = PyLong_AsLongLongAndOverflow(value, &overflow)
            if overflow:
                self.text(str(value))
            else:
                self.integer(number)
        return 0


cdef inline bint _is_absent(value):
    return value is None or (type(value) is str and not value)


cdef long long _plain_number(str text):
    """The number of a text of few digits; -1 for any other text."""
    cdef Py_ssize_t size = 0, index
    cdef const char *digits = PyUnicode_AsUTF8AndSize(text, &size)
    cdef long long number = 0
    if size > PLAIN_DIGITS_MAX:
        return -1
    for index in range(size):
        if not b"0" <= digits[index] <= b"9":
            return -1
        number = number * 10 + (digits[index] - <char>b"0")
    return number


cdef bint _is_usual_ipv4(const char *text, Py_ssize_t size) noexcept:
    """Whether a text is four numbers up to 255 without leading zeros."""
    cdef Py_ssize_t index
    cdef int parts = 1, digits = 0, number = 0
    for index in range(size):
        if text[index] == b"." and digits:
            parts += 1
            digits = number = 0
        elif b"0" <= text[index] <= b"9" and not (digits and number == 0):
            digits += 1
            number = number * 10 + (text[index] - <char>b"0")
            if number > 255:
                return False
        else:
            return False
    return parts == IPV4_PARTS and digits > 0


cdef bint _is_usual_ipv6(const char *text, Py_ssize_t size) noexcept:
    """Whether a text is eight groups, or fewer with one gap; no zone, no IPv4 inside."""
    cdef Py_ssize_t index
    cdef int groups = 0, digits = 0, gaps = 0
    cdef char byte
    for index in range(size):
        byte = text[index]
        if byte == b":":
            if index and text[index - 1] == b":":
                gaps += 1
            elif digits == 0 and index + 1 < size and text[index + 1] != b":":
                # A single colon at the start.
                return False
            digits = 0
        elif b"0" <= byte <= b"9" or b"a" <= byte <= b"f" or b"A" <= byte <= b"F":
            groups += digits == 0
            digits += 1
            if digits > 4:
                return False
        else:
            return False
    if size < 2 or gaps > 1 or (text[size - 1] == b":" and text[size - 2] != b":"):
        return False
    return groups < IPV6_GROUPS if gaps else groups == IPV6_GROUPS


cdef class CompiledPass:
    """The fast pass of one resource's table: `read` is the `FastPass`."""

    cdef object strict, flatten, applications, producer_key, refuse, finish
    cdef object profile_digest, device_digest
    cdef Py_ssize_t row_bytes_max
    cdef bint is_content_keyed
    cdef int application, name, values_min
    cdef CompiledColumn device_id
    cdef list columns, repeated
    cdef Line line

    def __init__(self, table):
        self.strict, self.flatten = table.decoder
        self.applications = table.applications
        self.producer_key = table.ends.producer_key
        self.refuse, self.finish = table.ends.refuse, table.ends.finish
        self.profile_digest, self.device_digest = table.digests
        self.row_bytes_max = table.row_bytes_max
        self.is_content_keyed = table.is_content_keyed
        self.name = table.name
        # The places of the identity pair are the first two, and the application's is the next.
        self.application = 2
        self.device_id = CompiledColumn(1, table.places[1], None, None)
        self.columns = [
            CompiledColumn(index, place, table.usual.get(index), table.limits.get(index))
            for index, place in enumerate(table.places)
            if index > self.application
        ]
        self.repeated = list(table.repeated)
        self.values_min = len(table.places)
        for index, _, _ in self.repeated:
            self.values_min = max(self.values_min, index + 1)
        if len(self.columns) + 8 > SPARE_BYTES:
            raise ValueError(f"{len(self.columns)} columns are too many for a compiled pass")

    def read(self, reading, record, value, unwrapped=None, decode=None):
        """The row of an event, or the fault of its line; None if anything is wrong or unusual."""
        cdef tuple values
        cdef Line line = self.line
        try:
            values = self.flatten((self.strict if decode is None else decode)(value))
        except DECODE_FAILURES:
            return None
        # Indexes are not checked below.
        if len(values) < self.values_min:
            raise ValueError(f"{len(values)} values are too few for the table of the pass")
        # A check that reads an event itself finds another buffer.
        self.line = None
        if line is None:
            line = Line()
        line.size = 0
        try:
            return self.row(line, values, reading, record, value, unwrapped)
        finally:
            self.line = line if line.capacity <= BUFFER_BYTES else None

    cdef object row(self, Line line, tuple values, reading, record, value, unwrapped):
        cdef list unusual = None, beyond = None
        cdef object seconds = None, window = reading.window
        cdef CompiledColumn column
        cdef Py_ssize_t start, size_bytes
        application = self.applications.get(values[self.application])
        if application is None:
            return None
        line.text(<str>application[0])
        line.separator(b",")
        identity = self.identity(line, values, window)
        if identity is None:
            return None
        for column in self.columns:
            line.separator(b",")
            cell = values[column.index]
            if column.shortcut == TIME and unwrapped is not None and _is_absent(cell):
                cell = unwrapped.timestamp
            start = line.size
            cell = self.cell(line, column, cell, window)
            if cell is None:
                return None
            # A text that is the number 0 is as false as no text.
            if column.required and not (cell if column.shortcut == TEXT else line.size > start):
                return None
            if column.dates:
                seconds = cell if type(cell) is int else int(cell)
            if column.usual is not None and not _is_usual(cell, column.usual):
                unusual = [] if unusual is None else unusual
                unusual.append(column.name)
            if column.exceeds is not None and self.exceeds(column, cell, window, line.size - start):
                beyond = [] if beyond is None else beyond
                beyond.append((column.name, column.change))
        for index, repeated, check in self.repeated:
            if not _is_absent(values[index]):
                if type(check(repeated, values[index], window)) is not str:
                    return None
        if unusual is not None or beyond is not None:
            self.count(reading.drift, values, unusual, beyond)
        line.separator(b"\n")
        written = PyBytes_FromStringAndSize(line.start, line.size)
        if line.size > self.row_bytes_max:
            return self.refuse(written)
        key = self.producer_key(values) if self.producer_key is not None else None
        is_profile = identity is self.profile_digest
        destination = application[1] if is_profile else application[2]
        if not self.is_content_keyed or unwrapped is not None or record.headers:
            return self.finish(reading, record, (destination, written, seconds), key, unwrapped)
        digest = identity()
        digest.update(written)
        record_key = record.key
        size_bytes = OVERHEAD_BYTES + len(value) + len(written)
        if record_key:
            size_bytes += len(record_key)
        return Row(
            reading.assignment, record, destination, written, digest.digest(), seconds,
            size_bytes, False, CONTENT,
        )

    cdef object identity(self, Line line, tuple values, window):
        """Write the identity; return the digest of its kind, or None."""
        profile_id, device_id = values[0], values[1]
        if _is_absent(device_id):
            if not profile_id:
                return None
            line.text_or_integer(profile_id)
            return self.profile_digest
        # A profile may be called 0, which is as false as no profile.
        if not _is_absent(profile_id):
            return None
        if self.cell(line, self.device_id, device_id, window) is None:
            return None
        return self.device_digest

    cdef object cell(self, Line line, CompiledColumn column, value, window):
        """Write a cell; return what it was written from (None: it isn't accepted)."""
        if column.shortcut == TEXT:
            line.text_or_integer(value)
            return "" if value is None else value
        if column.shortcut != CONSTANT:
            if _is_absent(value):
                return ""
            if self.usual(line, column, value, window):
                return value
            value = column.check(column.column, value, window)
            if type(value) is not str:
                return None
        if column.quoted:
            line.quoted_text(<str>value)
        else:
            line.text(<str>value)
        return value

    cdef bint usual(self, Line line, CompiledColumn column, value, window) except -1:
        """Write the cell of a usual value; False, with nothing written, for any other value."""
        cdef long long number
        cdef int overflow = 0
        cdef Py_ssize_t size = 0
        cdef const char *text
        if column.shortcut == INTEGER:
            if type(value) is int:
                number = PyLong_AsLongLongAndOverflow(value, &overflow)
                if overflow:
                    return False
            else:
                number = _plain_number(<str?>value)
                if number < 0:
                    return False
            if column.minimum <= number <= column.maximum:
                line.integer(number)
                return True
        elif column.shortcut == TIME:
            if type(value) is int and window.earliest <= value <= window.latest:
                line.integer(value)
                return True
        elif column.shortcut == OBJECT:
            return self.json_object(line, value)
        elif column.shortcut == ADDRESS:
            text = PyUnicode_AsUTF8AndSize(<str?>value, &size)
            if _is_usual_ipv4(text, size):
                line.text("::ffff:")
                line.text(<str>value)
                return True
            if _is_usual_ipv6(text, size):
                line.text(<str>value)
                return True
        return False

    cdef bint json_object(self, Line line, value) except -1:
        """Write a JSON object; False, with nothing written, where it is none or not UTF-8."""
        cdef Py_buffer view
        cdef Py_ssize_t before = line.size
        cdef const char *source
        PyObject_GetBuffer(value, &view, PyBUF_SIMPLE)
        try:
            source = <const char *>view.buf
            if view.len == 0:
                return False
            if source[0] == b'"':
                return self.object_in_string(line, value)
            if source[0] != b"{":
                return False
            if not line.quoted(source, view.len):
                try:
                    PyUnicode_DecodeUTF8(<char *>source, view.len, NULL)
                except UnicodeDecodeError:
                    line.size = before
                    return False
            return True
        finally:
            PyBuffer_Release(&view)

    cdef bint object_in_string(self, Line line, value) except -1:
        cdef str text
        try:
            text = decode_text(value)
            if not text or text[0] != "{":
                return False
            decode_object(text)
        except DECODE_FAILURES:
            return False
        line.quoted_text(text)
        return True

    cdef bint exceeds(self, CompiledColumn column, cell, window, Py_ssize_t size) except -1:
        """Whether a cell that takes this many bytes of its line is beyond the API's limit."""
        if column.shortcut == OBJECT:
            if size <= CUT_FROM_BYTES:
                return False
            cell = cell if type(cell) is str else column.check(column.column, cell, window)
        return bool(cell) and column.exceeds(cell)

    cdef int count(self, drift, tuple values, list unusual, list beyond) except -1:
        """Count what is unusual, but no reason to reject the event."""
        for name in unusual or ():
            drift.unusual_values[name] += 1
        if beyond is not None:
            event_name = shown_name(str(values[self.name])) if self.name >= 0 else ""
            for name, change in beyond:
                drift.drift(event_name, name, change)
        return 0


cdef bint _is_usual(cell, tuple usual) except -1:
    if type(cell) is str:
        for one in usual:
            if <str>cell == <str>one:
                return True
    return False
