import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Space(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SPACE_UNSPECIFIED: _ClassVar[Space]
    SPACE_W_STAR: _ClassVar[Space]
    SPACE_W_STAR_ID: _ClassVar[Space]
    SPACE_W_PLUS: _ClassVar[Space]

class Dtype(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DTYPE_UNSPECIFIED: _ClassVar[Dtype]
    DTYPE_F32: _ClassVar[Dtype]
    DTYPE_F16: _ClassVar[Dtype]

class DistanceMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DISTANCE_MODE_UNSPECIFIED: _ClassVar[DistanceMode]
    DISTANCE_MODE_PAIRS: _ClassVar[DistanceMode]
    DISTANCE_MODE_MATRIX: _ClassVar[DistanceMode]

class ImageFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    IMAGE_FORMAT_UNSPECIFIED: _ClassVar[ImageFormat]
    IMAGE_FORMAT_PNG: _ClassVar[ImageFormat]
    IMAGE_FORMAT_JPEG: _ClassVar[ImageFormat]
    IMAGE_FORMAT_WEBP: _ClassVar[ImageFormat]
SPACE_UNSPECIFIED: Space
SPACE_W_STAR: Space
SPACE_W_STAR_ID: Space
SPACE_W_PLUS: Space
DTYPE_UNSPECIFIED: Dtype
DTYPE_F32: Dtype
DTYPE_F16: Dtype
DISTANCE_MODE_UNSPECIFIED: DistanceMode
DISTANCE_MODE_PAIRS: DistanceMode
DISTANCE_MODE_MATRIX: DistanceMode
IMAGE_FORMAT_UNSPECIFIED: ImageFormat
IMAGE_FORMAT_PNG: ImageFormat
IMAGE_FORMAT_JPEG: ImageFormat
IMAGE_FORMAT_WEBP: ImageFormat

class Code(_message.Message):
    __slots__ = ("space", "space_id", "dtype", "data")
    SPACE_FIELD_NUMBER: _ClassVar[int]
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    space: Space
    space_id: str
    dtype: Dtype
    data: bytes
    def __init__(self, space: _Optional[_Union[Space, str]] = ..., space_id: _Optional[str] = ..., dtype: _Optional[_Union[Dtype, str]] = ..., data: _Optional[bytes] = ...) -> None: ...

class Point(_message.Message):
    __slots__ = ("x_px", "y_px")
    X_PX_FIELD_NUMBER: _ClassVar[int]
    Y_PX_FIELD_NUMBER: _ClassVar[int]
    x_px: float
    y_px: float
    def __init__(self, x_px: _Optional[float] = ..., y_px: _Optional[float] = ...) -> None: ...

class Landmarks(_message.Message):
    __slots__ = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
    LEFT_EYE_FIELD_NUMBER: _ClassVar[int]
    RIGHT_EYE_FIELD_NUMBER: _ClassVar[int]
    NOSE_FIELD_NUMBER: _ClassVar[int]
    LEFT_MOUTH_FIELD_NUMBER: _ClassVar[int]
    RIGHT_MOUTH_FIELD_NUMBER: _ClassVar[int]
    left_eye: Point
    right_eye: Point
    nose: Point
    left_mouth: Point
    right_mouth: Point
    def __init__(self, left_eye: _Optional[_Union[Point, _Mapping]] = ..., right_eye: _Optional[_Union[Point, _Mapping]] = ..., nose: _Optional[_Union[Point, _Mapping]] = ..., left_mouth: _Optional[_Union[Point, _Mapping]] = ..., right_mouth: _Optional[_Union[Point, _Mapping]] = ...) -> None: ...

class Picture(_message.Message):
    __slots__ = ("data", "landmarks")
    DATA_FIELD_NUMBER: _ClassVar[int]
    LANDMARKS_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    landmarks: Landmarks
    def __init__(self, data: _Optional[bytes] = ..., landmarks: _Optional[_Union[Landmarks, _Mapping]] = ...) -> None: ...

class Face(_message.Message):
    __slots__ = ("picture", "code")
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    picture: Picture
    code: Code
    def __init__(self, picture: _Optional[_Union[Picture, _Mapping]] = ..., code: _Optional[_Union[Code, _Mapping]] = ...) -> None: ...

class Timings(_message.Message):
    __slots__ = ("total_ms", "stage_ms")
    class StageMsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    TOTAL_MS_FIELD_NUMBER: _ClassVar[int]
    STAGE_MS_FIELD_NUMBER: _ClassVar[int]
    total_ms: float
    stage_ms: _containers.ScalarMap[str, float]
    def __init__(self, total_ms: _Optional[float] = ..., stage_ms: _Optional[_Mapping[str, float]] = ...) -> None: ...

class AttributeScore(_message.Message):
    __slots__ = ("attribute", "logit", "probability")
    ATTRIBUTE_FIELD_NUMBER: _ClassVar[int]
    LOGIT_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    attribute: str
    logit: float
    probability: float
    def __init__(self, attribute: _Optional[str] = ..., logit: _Optional[float] = ..., probability: _Optional[float] = ...) -> None: ...

class GetInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_image_bytes", "max_image_pixels", "max_batch", "max_concurrency", "max_message_bytes", "max_queue", "max_concurrency_per_token", "max_stream_in_flight", "max_distances")
    MAX_IMAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_IMAGE_PIXELS_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_FIELD_NUMBER: _ClassVar[int]
    MAX_CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_QUEUE_FIELD_NUMBER: _ClassVar[int]
    MAX_CONCURRENCY_PER_TOKEN_FIELD_NUMBER: _ClassVar[int]
    MAX_STREAM_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    MAX_DISTANCES_FIELD_NUMBER: _ClassVar[int]
    max_image_bytes: int
    max_image_pixels: int
    max_batch: int
    max_concurrency: int
    max_message_bytes: int
    max_queue: int
    max_concurrency_per_token: int
    max_stream_in_flight: int
    max_distances: int
    def __init__(self, max_image_bytes: _Optional[int] = ..., max_image_pixels: _Optional[int] = ..., max_batch: _Optional[int] = ..., max_concurrency: _Optional[int] = ..., max_message_bytes: _Optional[int] = ..., max_queue: _Optional[int] = ..., max_concurrency_per_token: _Optional[int] = ..., max_stream_in_flight: _Optional[int] = ..., max_distances: _Optional[int] = ...) -> None: ...

class SpaceInfo(_message.Message):
    __slots__ = ("space", "space_id", "evaluation", "labels")
    class EvaluationEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SPACE_FIELD_NUMBER: _ClassVar[int]
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    space: Space
    space_id: str
    evaluation: _containers.ScalarMap[str, float]
    labels: _containers.ScalarMap[str, str]
    def __init__(self, space: _Optional[_Union[Space, str]] = ..., space_id: _Optional[str] = ..., evaluation: _Optional[_Mapping[str, float]] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class GetInfoResponse(_message.Message):
    __slots__ = ("version", "spaces", "attributes", "n", "resolution", "encoder_side", "limits", "runner", "capabilities")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SPACES_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    RESOLUTION_FIELD_NUMBER: _ClassVar[int]
    ENCODER_SIDE_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    RUNNER_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    version: str
    spaces: _containers.RepeatedCompositeFieldContainer[SpaceInfo]
    attributes: _containers.RepeatedScalarFieldContainer[str]
    n: int
    resolution: int
    encoder_side: int
    limits: Limits
    runner: str
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, version: _Optional[str] = ..., spaces: _Optional[_Iterable[_Union[SpaceInfo, _Mapping]]] = ..., attributes: _Optional[_Iterable[str]] = ..., n: _Optional[int] = ..., resolution: _Optional[int] = ..., encoder_side: _Optional[int] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., runner: _Optional[str] = ..., capabilities: _Optional[_Iterable[str]] = ...) -> None: ...

class EmbedRequest(_message.Message):
    __slots__ = ("faces", "space", "dtype", "include_w_plus", "include_scores")
    FACES_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_W_PLUS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_SCORES_FIELD_NUMBER: _ClassVar[int]
    faces: _containers.RepeatedCompositeFieldContainer[Face]
    space: Space
    dtype: Dtype
    include_w_plus: bool
    include_scores: bool
    def __init__(self, faces: _Optional[_Iterable[_Union[Face, _Mapping]]] = ..., space: _Optional[_Union[Space, str]] = ..., dtype: _Optional[_Union[Dtype, str]] = ..., include_w_plus: _Optional[bool] = ..., include_scores: _Optional[bool] = ...) -> None: ...

class Embedding(_message.Message):
    __slots__ = ("code", "w_plus", "scores")
    CODE_FIELD_NUMBER: _ClassVar[int]
    W_PLUS_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    code: Code
    w_plus: Code
    scores: _containers.RepeatedCompositeFieldContainer[AttributeScore]
    def __init__(self, code: _Optional[_Union[Code, _Mapping]] = ..., w_plus: _Optional[_Union[Code, _Mapping]] = ..., scores: _Optional[_Iterable[_Union[AttributeScore, _Mapping]]] = ...) -> None: ...

class EmbedResponse(_message.Message):
    __slots__ = ("embeddings", "space_id", "timings")
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    embeddings: _containers.RepeatedCompositeFieldContainer[Embedding]
    space_id: str
    timings: Timings
    def __init__(self, embeddings: _Optional[_Iterable[_Union[Embedding, _Mapping]]] = ..., space_id: _Optional[str] = ..., timings: _Optional[_Union[Timings, _Mapping]] = ...) -> None: ...

class EmbedStreamRequest(_message.Message):
    __slots__ = ("id", "face", "space", "dtype", "include_w_plus", "include_scores")
    ID_FIELD_NUMBER: _ClassVar[int]
    FACE_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_W_PLUS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_SCORES_FIELD_NUMBER: _ClassVar[int]
    id: str
    face: Face
    space: Space
    dtype: Dtype
    include_w_plus: bool
    include_scores: bool
    def __init__(self, id: _Optional[str] = ..., face: _Optional[_Union[Face, _Mapping]] = ..., space: _Optional[_Union[Space, str]] = ..., dtype: _Optional[_Union[Dtype, str]] = ..., include_w_plus: _Optional[bool] = ..., include_scores: _Optional[bool] = ...) -> None: ...

class ItemError(_message.Message):
    __slots__ = ("code", "message", "reason", "field", "metadata", "retry_delay")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    RETRY_DELAY_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    reason: str
    field: str
    metadata: _containers.ScalarMap[str, str]
    retry_delay: _duration_pb2.Duration
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., reason: _Optional[str] = ..., field: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., retry_delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class EmbedStreamResponse(_message.Message):
    __slots__ = ("id", "embedding", "error", "space_id", "timings")
    ID_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    id: str
    embedding: Embedding
    error: ItemError
    space_id: str
    timings: Timings
    def __init__(self, id: _Optional[str] = ..., embedding: _Optional[_Union[Embedding, _Mapping]] = ..., error: _Optional[_Union[ItemError, _Mapping]] = ..., space_id: _Optional[str] = ..., timings: _Optional[_Union[Timings, _Mapping]] = ...) -> None: ...

class DistanceRequest(_message.Message):
    __slots__ = ("a", "b", "mode", "space", "ignore_attributes", "explain")
    A_FIELD_NUMBER: _ClassVar[int]
    B_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    IGNORE_ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    a: _containers.RepeatedCompositeFieldContainer[Face]
    b: _containers.RepeatedCompositeFieldContainer[Face]
    mode: DistanceMode
    space: Space
    ignore_attributes: _containers.RepeatedScalarFieldContainer[str]
    explain: bool
    def __init__(self, a: _Optional[_Iterable[_Union[Face, _Mapping]]] = ..., b: _Optional[_Iterable[_Union[Face, _Mapping]]] = ..., mode: _Optional[_Union[DistanceMode, str]] = ..., space: _Optional[_Union[Space, str]] = ..., ignore_attributes: _Optional[_Iterable[str]] = ..., explain: _Optional[bool] = ...) -> None: ...

class AttributeShare(_message.Message):
    __slots__ = ("attribute", "share")
    ATTRIBUTE_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    attribute: str
    share: float
    def __init__(self, attribute: _Optional[str] = ..., share: _Optional[float] = ...) -> None: ...

class FaceDistance(_message.Message):
    __slots__ = ("squared_distance", "distance", "percentile", "shares", "residual")
    SQUARED_DISTANCE_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    PERCENTILE_FIELD_NUMBER: _ClassVar[int]
    SHARES_FIELD_NUMBER: _ClassVar[int]
    RESIDUAL_FIELD_NUMBER: _ClassVar[int]
    squared_distance: float
    distance: float
    percentile: float
    shares: _containers.RepeatedCompositeFieldContainer[AttributeShare]
    residual: float
    def __init__(self, squared_distance: _Optional[float] = ..., distance: _Optional[float] = ..., percentile: _Optional[float] = ..., shares: _Optional[_Iterable[_Union[AttributeShare, _Mapping]]] = ..., residual: _Optional[float] = ...) -> None: ...

class DistanceResponse(_message.Message):
    __slots__ = ("distances", "rows", "columns", "space_id", "timings")
    DISTANCES_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    distances: _containers.RepeatedCompositeFieldContainer[FaceDistance]
    rows: int
    columns: int
    space_id: str
    timings: Timings
    def __init__(self, distances: _Optional[_Iterable[_Union[FaceDistance, _Mapping]]] = ..., rows: _Optional[int] = ..., columns: _Optional[int] = ..., space_id: _Optional[str] = ..., timings: _Optional[_Union[Timings, _Mapping]] = ...) -> None: ...

class ClassifyRequest(_message.Message):
    __slots__ = ("faces", "attributes", "space")
    FACES_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    faces: _containers.RepeatedCompositeFieldContainer[Face]
    attributes: _containers.RepeatedScalarFieldContainer[str]
    space: Space
    def __init__(self, faces: _Optional[_Iterable[_Union[Face, _Mapping]]] = ..., attributes: _Optional[_Iterable[str]] = ..., space: _Optional[_Union[Space, str]] = ...) -> None: ...

class Classification(_message.Message):
    __slots__ = ("scores",)
    SCORES_FIELD_NUMBER: _ClassVar[int]
    scores: _containers.RepeatedCompositeFieldContainer[AttributeScore]
    def __init__(self, scores: _Optional[_Iterable[_Union[AttributeScore, _Mapping]]] = ...) -> None: ...

class ClassifyResponse(_message.Message):
    __slots__ = ("classifications", "space_id", "timings")
    CLASSIFICATIONS_FIELD_NUMBER: _ClassVar[int]
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    classifications: _containers.RepeatedCompositeFieldContainer[Classification]
    space_id: str
    timings: Timings
    def __init__(self, classifications: _Optional[_Iterable[_Union[Classification, _Mapping]]] = ..., space_id: _Optional[str] = ..., timings: _Optional[_Union[Timings, _Mapping]] = ...) -> None: ...

class AttributeEdit(_message.Message):
    __slots__ = ("attribute", "step", "target_probability")
    ATTRIBUTE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TARGET_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    attribute: str
    step: float
    target_probability: float
    def __init__(self, attribute: _Optional[str] = ..., step: _Optional[float] = ..., target_probability: _Optional[float] = ...) -> None: ...

class EditRequest(_message.Message):
    __slots__ = ("face", "edits", "preserve", "space", "format", "strengths", "max_squared_distance", "remeasure")
    FACE_FIELD_NUMBER: _ClassVar[int]
    EDITS_FIELD_NUMBER: _ClassVar[int]
    PRESERVE_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    STRENGTHS_FIELD_NUMBER: _ClassVar[int]
    MAX_SQUARED_DISTANCE_FIELD_NUMBER: _ClassVar[int]
    REMEASURE_FIELD_NUMBER: _ClassVar[int]
    face: Face
    edits: _containers.RepeatedCompositeFieldContainer[AttributeEdit]
    preserve: _containers.RepeatedScalarFieldContainer[str]
    space: Space
    format: ImageFormat
    strengths: _containers.RepeatedScalarFieldContainer[float]
    max_squared_distance: float
    remeasure: bool
    def __init__(self, face: _Optional[_Union[Face, _Mapping]] = ..., edits: _Optional[_Iterable[_Union[AttributeEdit, _Mapping]]] = ..., preserve: _Optional[_Iterable[str]] = ..., space: _Optional[_Union[Space, str]] = ..., format: _Optional[_Union[ImageFormat, str]] = ..., strengths: _Optional[_Iterable[float]] = ..., max_squared_distance: _Optional[float] = ..., remeasure: _Optional[bool] = ...) -> None: ...

class Remeasured(_message.Message):
    __slots__ = ("scores", "squared_distance_moved")
    SCORES_FIELD_NUMBER: _ClassVar[int]
    SQUARED_DISTANCE_MOVED_FIELD_NUMBER: _ClassVar[int]
    scores: _containers.RepeatedCompositeFieldContainer[AttributeScore]
    squared_distance_moved: float
    def __init__(self, scores: _Optional[_Iterable[_Union[AttributeScore, _Mapping]]] = ..., squared_distance_moved: _Optional[float] = ...) -> None: ...

class EditResult(_message.Message):
    __slots__ = ("strength", "picture", "code", "scores", "squared_distance_moved", "scale", "remeasured")
    STRENGTH_FIELD_NUMBER: _ClassVar[int]
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    SQUARED_DISTANCE_MOVED_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    REMEASURED_FIELD_NUMBER: _ClassVar[int]
    strength: float
    picture: bytes
    code: Code
    scores: _containers.RepeatedCompositeFieldContainer[AttributeScore]
    squared_distance_moved: float
    scale: float
    remeasured: Remeasured
    def __init__(self, strength: _Optional[float] = ..., picture: _Optional[bytes] = ..., code: _Optional[_Union[Code, _Mapping]] = ..., scores: _Optional[_Iterable[_Union[AttributeScore, _Mapping]]] = ..., squared_distance_moved: _Optional[float] = ..., scale: _Optional[float] = ..., remeasured: _Optional[_Union[Remeasured, _Mapping]] = ...) -> None: ...

class EditResponse(_message.Message):
    __slots__ = ("results", "scores_before", "space_id", "timings")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    SCORES_BEFORE_FIELD_NUMBER: _ClassVar[int]
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[EditResult]
    scores_before: _containers.RepeatedCompositeFieldContainer[AttributeScore]
    space_id: str
    timings: Timings
    def __init__(self, results: _Optional[_Iterable[_Union[EditResult, _Mapping]]] = ..., scores_before: _Optional[_Iterable[_Union[AttributeScore, _Mapping]]] = ..., space_id: _Optional[str] = ..., timings: _Optional[_Union[Timings, _Mapping]] = ...) -> None: ...
