from .floorplan import Floorplan as Floorplan, floorplan as floorplan
