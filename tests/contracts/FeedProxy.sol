// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

interface IAggregator {
    function decimals() external view returns (uint8);
    function description() external view returns (string memory);
    function version() external view returns (uint256);
    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80);
    function getRoundData(uint80 round) external view returns (uint80, int256, uint256, uint256, uint80);
}

/// The address that readers know: it passes on to the aggregator of the current phase and composes round ids as
/// phase << 64 | aggregator round. Each change of the aggregator begins a phase.
contract FeedProxy {
    event AggregatorConfirmed(address indexed previous, address indexed latest);

    address public owner;
    uint16 public phaseId;
    mapping(uint16 => address) public phaseAggregators;

    modifier onlyOwner() {
        require(msg.sender == owner, "only the owner");
        _;
    }

    function initialise() external {
        require(owner == address(0), "initialised before");
        owner = msg.sender;
    }

    /// The next phase begins.
    function confirmAggregator(address next) external onlyOwner {
        confirm(phaseId + 1, next);
    }

    /// A phase of a chosen number begins: a feed that is years old has several behind it.
    function confirmPhase(uint16 phase, address next) external onlyOwner {
        require(phase > phaseId, "phases only go up");
        confirm(phase, next);
    }

    function confirm(uint16 phase, address next) private {
        address previous = phaseAggregators[phaseId];
        phaseId = phase;
        phaseAggregators[phase] = next;
        emit AggregatorConfirmed(previous, next);
    }

    function aggregator() public view returns (address) {
        return phaseAggregators[phaseId];
    }

    function decimals() external view returns (uint8) {
        return IAggregator(aggregator()).decimals();
    }

    function description() external view returns (string memory) {
        return IAggregator(aggregator()).description();
    }

    function version() external view returns (uint256) {
        return IAggregator(aggregator()).version();
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        (uint80 round, int256 answer, uint256 started, uint256 updated, uint80 answeredIn) =
            IAggregator(aggregator()).latestRoundData();
        return (compose(phaseId, round), answer, started, updated, compose(phaseId, answeredIn));
    }

    function getRoundData(uint80 id) external view returns (uint80, int256, uint256, uint256, uint80) {
        uint16 phase = uint16(id >> 64);
        (uint80 round, int256 answer, uint256 started, uint256 updated, uint80 answeredIn) =
            IAggregator(phaseAggregators[phase]).getRoundData(uint64(id));
        return (compose(phase, round), answer, started, updated, compose(phase, answeredIn));
    }

    function compose(uint16 phase, uint80 round) private pure returns (uint80) {
        return (uint80(phase) << 64) | uint64(round);
    }
}
