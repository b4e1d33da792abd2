import msgspec

from worker.core.intake.decode import Decode
from worker.core.intake.fast_pass import ChunkReading, InvalidEvent
from worker.core.intake.forms import Unwrapped
from worker.core.intake.pass_choice import PassTable
from worker.core.model.record import Record
from worker.core.model.row import Row

source_digest: str

class CompiledPass:
    def __init__(self, table: PassTable) -> None: ...
    def read(
        self,
        reading: ChunkReading,
        record: Record,
        value: bytes | msgspec.Raw,
        unwrapped: Unwrapped | None = None,
        decode: Decode | None = None,
    ) -> Row | InvalidEvent | None: ...
